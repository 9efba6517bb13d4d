//! The address to listen on: whether it is free, and who has it where it is not.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::finding::Finding;
use crate::cli::value::Listen;

/// How the system writes the state of a socket that listens.
const LISTENING: &str = "0A";

/// What this program is called among the processes.
const OWN_NAME: &str = "omnizap";

/// Who has a port.
struct Holder {
    name: String,
    pid: u32,
}

pub(super) async fn look(listen: &Listen) -> Vec<Finding> {
    let error = match listen.bind().await {
        Ok(_) => return vec![Finding::fine(format!("{listen} is free"))],
        Err(error) => error,
    };
    let kind = error
        .downcast_ref::<std::io::Error>()
        .map(std::io::Error::kind);
    vec![match kind {
        Some(ErrorKind::AddrInUse) => taken(listen, holder(listen.port())),
        Some(ErrorKind::PermissionDenied) => Finding::fault(
            format!("{listen} may not be listened on by this user"),
            "take a port from 1024 on, or give the process CAP_NET_BIND_SERVICE",
        ),
        Some(ErrorKind::AddrNotAvailable) => Finding::misconfigured(
            format!("{listen} is no address of this machine"),
            "set OMNIZAP_LISTEN to 127.0.0.1:PORT, or to :PORT for every interface",
        ),
        _ => Finding::misconfigured(
            format!("{listen} cannot be listened on: {error:#}"),
            "set OMNIZAP_LISTEN to 127.0.0.1:PORT, or to :PORT for every interface",
        ),
    }]
}

fn taken(listen: &Listen, holder: Option<Holder>) -> Finding {
    match holder {
        Some(Holder { name, pid }) if name == OWN_NAME => Finding::warning(
            format!("{listen} is taken by {name} (process {pid})"),
            "fine where that is the server that is meant; another one needs another --listen",
        ),
        Some(Holder { name, pid }) => Finding::fault(
            format!("{listen} is taken by {name} (process {pid})"),
            "end it, or take another port with OMNIZAP_LISTEN or --listen",
        ),
        None => Finding::fault(
            format!("{listen} is taken, by whom is not shown to this user"),
            "look with `ss -ltnp` as root, or take another port with OMNIZAP_LISTEN or --listen",
        ),
    }
}

/// The process that listens on a port, where the system tells this user.
fn holder(port: u16) -> Option<Holder> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let tables = tables
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok());
    let mut found: Vec<String> = Vec::new();
    for table in tables {
        found.extend(sockets(&table, port).map(|inode| format!("socket:[{inode}]")));
    }
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let pid = pids.find(|pid| has_one(*pid, &found))?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(Holder {
        name: name.trim().to_owned(),
        pid,
    })
}

/// The numbers of the sockets that listen on a port, in a table of proc(5).
fn sockets(table: &str, port: u16) -> impl Iterator<Item = &str> {
    let ending = format!(":{port:04X}");
    table.lines().skip(1).filter_map(move |line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        (local.ends_with(&ending) && *state == LISTENING).then_some(*inode)
    })
}

fn has_one(pid: u32, sockets: &[String]) -> bool {
    let Ok(files) = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd")) else {
        return false;
    };
    let mut links = files
        .flatten()
        .filter_map(|file| fs::read_link(file.path()).ok());
    links.any(|link| {
        sockets
            .iter()
            .any(|socket| link.as_os_str() == socket.as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_has_a_port_is_told() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let found = look(&Listen::At(address)).await;
        let shown = found[0].shown();
        let own = format!("(process {})", std::process::id());
        assert!(shown.contains(&own), "{shown}");
        // Another test may have that one at once: any that is free.
        let free = look(&Listen::At("127.0.0.1:0".parse().unwrap())).await;
        assert!(!free[0].is_fault(), "{}", free[0].shown());
    }

    #[test]
    fn a_table_of_sockets_is_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 0100007F:1F48 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1\n   \
            1: 0100007F:1F48 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4712 1\n   \
            2: 0100007F:1F49 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1\n";
        assert_eq!(sockets(table, 8008).collect::<Vec<_>>(), ["4711"]);
        assert_eq!(sockets("", 8008).count(), 0);
    }
}
