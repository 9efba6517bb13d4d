//! A small HTTP client over a plain socket, so that tests can also send what a
//! well-behaved client never would.

use std::io::{BufRead, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value as Json;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Json {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// What it says, as text, where it has that status.
    #[track_caller]
    pub(crate) fn told(&self, status: u16) -> String {
        let text = String::from_utf8_lossy(&self.body).into_owned();
        assert_eq!(self.status, status, "{text}");
        text
    }

    /// What it says, where the request went well.
    #[track_caller]
    pub(crate) fn fine(&self) -> Json {
        self.told(200);
        self.json()
    }

    /// The error that it tells, where the request was refused with that status and code.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) -> Json {
        let text = self.told(status);
        let error = self.json();
        assert_eq!(error["code"], code, "{text}");
        error
    }
}

/// One part of a form.
pub(crate) enum Part<'a> {
    Text(&'a str, &'a str),
    File {
        name: &'a str,
        filename: &'a str,
        content_type: &'a str,
        data: &'a [u8],
    },
}

const BOUNDARY: &str = "----a-boundary-of-the-tests";

pub(crate) fn multipart(parts: &[Part<'_>]) -> Vec<u8> {
    let mut body = Vec::new();
    for part in parts {
        body.extend_from_slice(format!("--{BOUNDARY}\r\n").as_bytes());
        match part {
            Part::Text(name, value) => {
                let head =
                    format!("Content-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
                body.extend_from_slice(head.as_bytes());
            }
            Part::File {
                name,
                filename,
                content_type,
                data,
            } => {
                let head = format!(
                    "Content-Disposition: form-data; name=\"{name}\"; filename=\"{filename}\"\r\nContent-Type: {content_type}\r\n\r\n"
                );
                body.extend_from_slice(head.as_bytes());
                body.extend_from_slice(data);
                body.extend_from_slice(b"\r\n");
            }
        }
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    body
}

/// A connection that is kept for one request after the other.
pub(crate) struct Client {
    address: SocketAddr,
    stream: Option<TcpStream>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            stream: None,
        }
    }

    pub(crate) fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, &[], &[]).unwrap()
    }

    /// What `GET /pipelines` shows.
    #[track_caller]
    pub(crate) fn pipelines(&mut self) -> Json {
        self.get("/pipelines").fine()
    }

    /// What of each bound is in use.
    #[track_caller]
    pub(crate) fn budgets(&mut self) -> Json {
        self.pipelines()["budgets"].clone()
    }

    /// What is shown of the pipeline of that name.
    #[track_caller]
    pub(crate) fn pipeline(&mut self, name: &str) -> Json {
        let shown = self.pipelines();
        named(&shown["pipelines"], &["pipeline"], name)
    }

    /// What a stage of a pipeline counts; it goes by its name or by its kind.
    #[track_caller]
    pub(crate) fn counters(&mut self, pipeline: &str, stage: &str) -> Json {
        let shown = self.pipeline(pipeline);
        named(&shown["stages"], &["name", "uses"], stage)["counters"].clone()
    }

    pub(crate) fn post_json(&mut self, path: &str, body: &Json) -> Answer {
        let headers = [("Content-Type", "application/json")];
        self.send("POST", path, &headers, body.to_string().as_bytes())
            .unwrap()
    }

    pub(crate) fn post_form(&mut self, path: &str, parts: &[Part<'_>]) -> Answer {
        self.try_post_form(path, parts).unwrap()
    }

    pub(crate) fn try_post_form(
        &mut self,
        path: &str,
        parts: &[Part<'_>],
    ) -> std::io::Result<Answer> {
        let headers = [("Content-Type", &*form_type())];
        self.send("POST", path, &headers, &multipart(parts))
    }

    /// One request; the connection stays open where the server lets it.
    pub(crate) fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Answer> {
        let request = head(self.address, (method, path), headers, body.len());
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(self.address)?,
        };
        stream.write_all(request.as_bytes())?;
        stream.write_all(body)?;
        let answer = read_answer(&mut stream, method)?;
        if !answer
            .header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
        {
            self.stream = Some(stream);
        }
        Ok(answer)
    }
}

/// The first of a list that has that name under one of these keys.
#[track_caller]
fn named(list: &Json, keys: &[&str], name: &str) -> Json {
    let mut all = list.as_array().into_iter().flatten();
    let found = all.find(|one| keys.iter().any(|key| one[*key] == name));
    let found = found.unwrap_or_else(|| panic!("there is no `{name}`: {list}"));
    found.clone()
}

fn form_type() -> String {
    format!("multipart/form-data; boundary={BOUNDARY}")
}

fn head(
    address: SocketAddr,
    (method, path): (&str, &str),
    headers: &[(&str, &str)],
    len: usize,
) -> String {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {len}\r\n\r\n"));
    head
}

/// Sends a form and does not wait for the answer: dropping the connection is a client that goes.
pub(crate) fn begin_form(
    address: SocketAddr,
    path: &str,
    parts: &[Part<'_>],
) -> std::io::Result<TcpStream> {
    let body = multipart(parts);
    let headers = [("Content-Type", &*form_type())];
    let mut stream = connect(address)?;
    stream.write_all(head(address, ("POST", path), &headers, body.len()).as_bytes())?;
    stream.write_all(&body)?;
    Ok(stream)
}

/// Reads a request as a server does: its head, as it came, and its body; none where no more comes.
pub(crate) fn read_request(
    stream: &mut impl BufRead,
) -> std::io::Result<Option<(String, Vec<u8>)>> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let from = head.len();
        if stream.read_line(&mut head)? == 0 {
            return Ok(None);
        }
        let line = head[from..].trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Some((head, body)))
}

pub(crate) fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reads an answer with a length or in chunks.
pub(crate) fn read_answer(stream: &mut TcpStream, method: &str) -> std::io::Result<Answer> {
    let mut buffer = Vec::new();
    let head_end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        read_more(stream, &mut buffer)?;
    };
    let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
    let mut lines = head.lines();
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|code| code.parse().ok());
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let mut answer = Answer {
        status: status.unwrap_or(0),
        headers,
        body: Vec::new(),
    };
    let is_chunked = answer.header("transfer-encoding") == Some("chunked");
    if is_chunked && method != "HEAD" {
        answer.body = read_chunks(stream, buffer.split_off(head_end))?;
        return Ok(answer);
    }
    let length = answer
        .header("content-length")
        .and_then(|length| length.parse().ok());
    let length: usize = if method == "HEAD" {
        0
    } else {
        length.unwrap_or(0)
    };
    while buffer.len() < head_end + length {
        read_more(stream, &mut buffer)?;
    }
    answer.body = buffer[head_end..head_end + length].to_vec();
    Ok(answer)
}

/// The chunks of a body, of which so much was read already.
fn read_chunks(stream: &mut TcpStream, mut buffer: Vec<u8>) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let line_end = loop {
            let rest = &buffer[at..];
            if let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
                break at + end;
            }
            read_more(stream, &mut buffer)?;
        };
        let length = std::str::from_utf8(&buffer[at..line_end]).ok();
        let length = length.and_then(|length| usize::from_str_radix(length, 16).ok());
        let length = length.ok_or(std::io::ErrorKind::InvalidData)?;
        let begin = line_end + 2;
        while buffer.len() < begin + length + 2 {
            read_more(stream, &mut buffer)?;
        }
        if length == 0 {
            return Ok(body);
        }
        body.extend_from_slice(&buffer[begin..begin + length]);
        at = begin + length + 2;
    }
}

fn read_more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<()> {
    let mut chunk = [0; 16 * 1024];
    match stream.read(&mut chunk)? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        read => {
            buffer.extend_from_slice(&chunk[..read]);
            Ok(())
        }
    }
}
