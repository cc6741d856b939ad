//! An SMTP client that says what a test tells it to, from any address of this machine.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use base64::Engine as _;

use super::office::PASSWORD;

pub struct SmtpClient(BufReader<TcpStream>);

impl SmtpClient {
    /// From that address of loopback; the greeting is read.
    pub fn connect(from: &str, port: u16) -> SmtpClient {
        let mut client = SmtpClient::silent(from, port);
        let greeting = client.reply();
        assert!(greeting.starts_with("220"), "{greeting}");
        client
    }

    /// The same with nothing read yet.
    pub fn silent(from: &str, port: u16) -> SmtpClient {
        let from = format!("{from}:0").parse().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let stream = runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind(from).unwrap();
            socket.connect(([127, 0, 0, 1], port).into()).await.unwrap().into_std().unwrap()
        });
        stream.set_nonblocking(false).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        SmtpClient(BufReader::new(stream))
    }

    /// The next reply, all of its lines; empty at the end of the connection.
    pub fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let start = reply.len();
            self.0.read_line(&mut reply).unwrap();
            if reply.as_bytes().get(start + 3) != Some(&b'-') {
                return reply;
            }
        }
    }

    pub fn say(&mut self, bytes: &str) -> String {
        self.0.get_mut().write_all(bytes.as_bytes()).unwrap();
        self.reply()
    }

    pub fn log_in(&mut self, user: &str) {
        let response = base64::engine::general_purpose::STANDARD.encode(format!("\0{user}\0{PASSWORD}"));
        let reply = self.say(&format!("AUTH PLAIN {response}\r\n"));
        assert!(reply.starts_with("235"), "{reply}");
    }

    /// One mail as a scanner sends it; the reply to the final dot, or to what was refused before.
    pub fn mail(&mut self, from: &str, to: &str, message: &str) -> String {
        self.hand_in(from, to, "DATA\r\n", &format!("{message}\r\n.\r\n"))
    }

    /// One mail by BDAT, all of it in one chunk.
    pub fn chunk(&mut self, from: &str, to: &str, message: &str) -> String {
        self.hand_in(from, to, "", &format!("BDAT {} LAST\r\n{message}", message.len()))
    }

    fn hand_in(&mut self, from: &str, to: &str, data: &str, message: &str) -> String {
        for command in [format!("MAIL FROM:{from}\r\n"), format!("RCPT TO:<{to}>\r\n"), data.to_owned()] {
            if command.is_empty() {
                continue;
            }
            let reply = self.say(&command);
            if !reply.starts_with(['2', '3']) {
                assert!(self.say("RSET\r\n").starts_with("250"));
                return reply;
            }
        }
        self.say(message)
    }
}
