//! A provider's IMAP server that says exactly what a test wrote down.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

/// One connection's script: a greeting, then for each command (told by its beginning, behind the tag) an answer. `$` in an answer stands
/// for the tag. A command that the script does not hold is answered OK; an answer `hang up` ends the connection, `…` at its end keeps it
/// open in silence.
pub async fn start(greeting: &str, script: &[(&str, &str)]) -> u16 {
    let script = script.iter().map(|(begin, answer)| ((*begin).to_owned(), (*answer).to_owned())).collect();
    start_logged(greeting, script).await.0
}

/// The same, with every command that came, tags left out.
pub async fn start_logged(greeting: &str, script: Vec<(String, String)>) -> (u16, Arc<Mutex<Vec<String>>>) {
    let (greeting, script) = (Arc::new(greeting.to_owned()), Arc::new(script));
    let log = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&log);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (greeting, script, seen) = (Arc::clone(&greeting), Arc::clone(&script), Arc::clone(&seen));
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                stream.write_all(format!("{greeting}\r\n").as_bytes()).await?;
                loop {
                    let mut line = String::new();
                    if stream.read_line(&mut line).await? == 0 {
                        return Ok::<(), std::io::Error>(());
                    }
                    let (tag, command) = line.trim_end().split_once(' ').unwrap_or((line.trim_end(), ""));
                    seen.lock().unwrap().push(command.to_owned());
                    let found = script.iter().find(|(begin, _)| command.starts_with(begin));
                    let answer = found.map_or("$ OK done\r\n", |(_, answer)| answer.as_str());
                    if answer == "hang up" {
                        return Ok(());
                    }
                    let (answer, silent) = answer.strip_suffix('…').map_or((answer, false), |answer| (answer, true));
                    stream.write_all(answer.replace('$', tag).as_bytes()).await?;
                    if silent {
                        let mut rest = Vec::new();
                        stream.read_to_end(&mut rest).await?;
                        return Ok(());
                    }
                    if command.starts_with("LOGOUT") {
                        return Ok(());
                    }
                }
            });
        }
    });
    (port, log)
}
