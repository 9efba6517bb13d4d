//! A server that answers byte by byte as a case says: other encodings, frames and breaks than a
//! well-behaved library would send.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value as Json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A good answer of the model, where a reply has `@good@`.
const GOOD: &str = r#"{"subtags": ["tabby", "kitten"], "style_traits": ["flat"], "emotions": ["calm"], "pack_suggestions": ["Cats"]}"#;

/// A running server.
pub(super) struct Mock {
    pub(super) url: String,
    script: Arc<Script>,
}

struct Script {
    /// The first that is for a request is the reply to it.
    replies: Vec<Json>,
    /// How often each was sent, and every body that was received.
    seen: Mutex<(Vec<u64>, Vec<String>)>,
}

impl Mock {
    /// Starts a server of these replies: `"good"`, or an object of
    ///
    /// - `if`: a text that the request must hold, `times`: how often it is sent
    /// - `status`, `headers` (null takes one out), `delay_ms`
    /// - `json`, `text` or `hex`: the body
    /// - `frame`: `chunked`, `close` (no length), `half` (breaks off), `break` (no answer),
    ///   `gone` (closes the connection that it was to keep)
    pub(super) async fn start(replies: Vec<Json>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let script = Arc::new(Script {
            seen: Mutex::new((vec![0; replies.len()], Vec::new())),
            replies,
        });
        let shared = script.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let script = shared.clone();
                tokio::spawn(async move { script.serve(BufReader::new(socket)).await });
            }
        });
        Self { url, script }
    }

    /// The bodies of the requests so far.
    pub(super) fn asked(&self) -> Vec<String> {
        self.script.seen.lock().unwrap().1.clone()
    }
}

impl Script {
    /// Serves a connection up to its end.
    async fn serve(&self, mut socket: BufReader<TcpStream>) {
        while let Some(body) = request(&mut socket).await {
            let Some(reply) = self.reply(body) else {
                return;
            };
            let delay = Duration::from_millis(reply["delay_ms"].as_u64().unwrap_or(0));
            tokio::time::sleep(delay).await;
            let frame = reply["frame"].as_str().unwrap_or("length");
            let bytes = answer(&reply, frame);
            if socket.write_all(&bytes).await.is_err() || !matches!(frame, "length" | "chunked") {
                return;
            }
        }
    }

    /// The reply to a request.
    fn reply(&self, body: String) -> Option<Json> {
        let mut seen = self.seen.lock().unwrap();
        let at = self.replies.iter().enumerate().position(|(at, reply)| {
            let is_for = reply["if"].as_str().is_none_or(|word| body.contains(word));
            is_for
                && reply["times"]
                    .as_u64()
                    .is_none_or(|times| seen.0[at] < times)
        });
        seen.1.push(body);
        seen.0[at?] += 1;
        Some(match &self.replies[at?] {
            Json::String(_) => serde_json::json!({
                "json": {"choices": [{"message": {"role": "assistant", "content": "@good@"}}]},
            }),
            reply => reply.clone(),
        })
    }
}

/// The body of the next request; none where the connection has ended.
async fn request(socket: &mut BufReader<TcpStream>) -> Option<String> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if socket.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await.ok()?;
    String::from_utf8(body).ok()
}

fn answer(reply: &Json, frame: &str) -> Vec<u8> {
    if frame == "break" {
        return Vec::new();
    }
    let good = Json::from(GOOD).to_string();
    let text = match (&reply["json"], &reply["text"]) {
        (Json::Null, text) => text.as_str().unwrap_or_default().to_owned(),
        (json, _) => json.to_string(),
    };
    let body = match reply["hex"].as_str() {
        Some(hex) => bytes_of(hex),
        None => text
            .replace("@good@", &good[1..good.len() - 1])
            .into_bytes(),
    };
    let version = u8::from(frame != "close");
    let status = reply["status"].as_u64().unwrap_or(200);
    let mut head = format!("HTTP/1.{version} {status} X\r\n");
    let own = reply["headers"].as_object();
    if own.is_none_or(|own| !own.contains_key("content-type")) {
        head.push_str("content-type: application/json\r\n");
    }
    for (name, value) in own.into_iter().flatten() {
        if let Some(value) = value.as_str() {
            head.extend([name.as_str(), ": ", value, "\r\n"]);
        }
    }
    let (first, second) = body.split_at(body.len() / 2);
    let mut bytes = Vec::new();
    match frame {
        "chunked" => {
            bytes.extend(format!("{head}transfer-encoding: chunked\r\n\r\n").bytes());
            for part in [first, second] {
                bytes.extend(format!("{:x}\r\n", part.len()).bytes());
                bytes.extend([part, b"\r\n"].concat());
            }
            bytes.extend(b"0\r\n\r\n");
        }
        "close" => bytes.extend([format!("{head}\r\n").as_bytes(), &body].concat()),
        _ => {
            bytes.extend(format!("{head}content-length: {}\r\n\r\n", body.len()).bytes());
            bytes.extend(if frame == "half" { first } else { &body });
        }
    }
    bytes
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}
