//! Forwarded connections: `landline run` with `-L`, `-R`, `-D`, `-W`, `-N` and `-f`.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    process::{Child, Stdio},
    time::Duration,
};

use serde_json::Value;
use socket2::SockRef;
use testkit::{ServerProcess, Stage, wait_for};

use crate::{
    noise,
    run::{HOST, set_rights},
    stage,
};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A port of this machine that nothing listens on.
fn free_port() -> u16 {
    let listener = TcpListener::bind((HOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn connect(address: impl Into<SocketAddr>) -> TcpStream {
    let stream = TcpStream::connect(address.into()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Closes a connection as a crashed program does.
fn reset(stream: TcpStream) {
    SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

fn is_reset(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => false,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

/// A host that serves every connection on a thread of its own.
struct Target {
    address: SocketAddr,
}

impl Target {
    fn new(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> Self {
        let listener = TcpListener::bind((HOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let serve = serve.clone();
                std::thread::spawn(move || serve(stream));
            }
        });
        Self { address }
    }

    /// Answers with what it got, once that has ended.
    fn echo_at_end() -> Self {
        Self::new(|mut stream| {
            let mut content = Vec::new();
            if stream.read_to_end(&mut content).is_ok() {
                let _ = stream.write_all(&content);
            }
        })
    }

    /// Answers at once.
    fn echo() -> Self {
        Self::new(|mut stream| {
            let mut part = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut part) {
                if stream.write_all(&part[..count]).is_err() {
                    return;
                }
            }
        })
    }
}

/// Sends everything, ends, and returns the answer.
fn exchange(mut stream: TcpStream, content: &[u8]) -> Vec<u8> {
    let mut sender = stream.try_clone().unwrap();
    let owned = content.to_vec();
    let sending = std::thread::spawn(move || {
        sender.write_all(&owned).unwrap();
        sender.shutdown(Shutdown::Write).unwrap();
    });
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    sending.join().unwrap();
    answer
}

/// `landline run -N` in the background of the test.
struct Forwarding {
    child: Child,
}

impl Forwarding {
    fn start(stage: &Stage, options: &[&str]) -> Self {
        let words = [&["--json", "run", "-N"], options, &[HOST]].concat();
        let mut command = stage.command(&words);
        command.stdin(Stdio::null());
        Self {
            child: command.spawn().unwrap(),
        }
    }

    /// Waits until the port is open.
    fn with_port(stage: &Stage, options: &[&str], port: u16) -> Self {
        let forwarding = Self::start(stage, options);
        wait_for("the port", || TcpStream::connect(local(port)).is_ok());
        forwarding
    }

    /// Ends it, and returns what it wrote to standard error.
    fn end(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let mut text = String::new();
        let mut errors = self.child.stderr.take().unwrap();
        errors.read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The argument of `-L` or `-R`.
fn to(port: u16, target: &Target) -> String {
    format!("{port}:{}", target.address)
}

#[test]
fn stdio_reaches_a_host_and_keeps_its_end() {
    let stage = stage();
    let server = stage.joined();
    let target = Target::echo_at_end();
    let content = noise(3 << 20, 1);
    let address = target.address.to_string();
    let outcome = stage.run_with_input(&["run", "-W", &address, HOST], &content);
    assert_eq!((outcome.status, outcome.stderr.as_str()), (Some(0), ""));
    assert!(outcome.stdout == content);
    let start = server.event("forward-start");
    assert_eq!(start["target"], address);
    assert_eq!(start["address"], address);
    let end = server.event("forward-end");
    assert_eq!(end["connection"], start["connection"]);
    assert_eq!(
        (&end["sent"], &end["received"]),
        (&content.len().into(), &content.len().into())
    );
    // The session has ended, too, and does not wait for its client.
    server.event("logout");
    let nothing = format!("{HOST}:{}", free_port());
    stage
        .run(&["--json", "run", "-W", &nothing, HOST])
        .fails(255, "unreachable");
    stage
        .run(&["--json", "run", "-W", "no-such-host.invalid:80", HOST])
        .fails(255, "not-found");
    for words in [
        &["-W", "host"][..],
        &["-W", "host:0"],
        &["-N", "-L", "80:x"],
    ] {
        let words = [&["--json", "run"], words, &[HOST]].concat();
        stage.run(&words).fails(2, "usage");
    }
    stage
        .run(&["--json", "run", "-N", HOST, "--", "true"])
        .fails(2, "usage");
}

/// Proves `forward-half-close` in docs/faults.md.
#[test]
fn port_keeps_half_close_and_survives_resets() {
    let stage = stage();
    let server = stage.joined();
    let target = Target::echo_at_end();
    let port = free_port();
    let _forwarding = Forwarding::with_port(&stage, &["-L", &to(port, &target)], port);
    let content = noise(1 << 20, 1);
    assert!(exchange(connect(local(port)), &content) == content);
    let settled = || server.usage().1;
    let mut before = settled();
    wait_for("a settled server", || {
        let now = settled();
        let is_settled = now <= before;
        before = now;
        is_settled
    });
    for round in 0..100 {
        let mut stream = connect(local(port));
        if round % 2 == 0 {
            stream.write_all(b"a request").unwrap();
        }
        reset(stream);
    }
    assert!(exchange(connect(local(port)), &content) == content);
    wait_for("closed descriptors", || server.usage().1 <= before);
}

/// Data that a reset has cut short must not look complete.
/// Proves `forward-half-close` in docs/faults.md.
#[test]
fn reset_and_end_are_distinct() {
    let stage = stage();
    let mut server = stage.joined();
    let (sender, seen) = std::sync::mpsc::channel();
    let target = Target::new(move |mut stream| {
        let mut order = [0; 1];
        stream.write_all(b"begin").unwrap();
        match stream.read_exact(&mut order) {
            Ok(()) if order == *b"r" => reset(stream),
            Ok(()) => {
                stream.write_all(b"k").unwrap();
                sender.send(is_reset(&mut stream)).unwrap();
            }
            // The connection that only tried the port.
            Err(_) => {}
        }
    });
    let port = free_port();
    let _forwarding = Forwarding::with_port(&stage, &["-L", &to(port, &target)], port);
    let begin = || {
        let mut stream = connect(local(port));
        let mut first = [0; 5];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"begin");
        stream
    };
    let mut by_target = begin();
    by_target.write_all(b"r").unwrap();
    assert!(is_reset(&mut by_target));
    let working = || {
        let mut stream = begin();
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        stream
    };
    reset(working());
    assert!(seen.recv_timeout(PATIENCE).unwrap());
    let mut by_server = working();
    server.kill();
    assert!(is_reset(&mut by_server));
    assert!(seen.recv_timeout(PATIENCE).unwrap());
}

#[test]
fn many_connections_share_a_session() {
    const CONNECTIONS: usize = 300;
    let stage = stage();
    let _server = stage.joined();
    let target = Target::echo();
    let port = free_port();
    let _forwarding = Forwarding::with_port(&stage, &["-L", &to(port, &target)], port);
    let mut streams: Vec<TcpStream> = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = connect(local(port));
        stream.write_all(b"x").unwrap();
        streams.push(stream);
    }
    for stream in &mut streams {
        let mut answer = [0];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"x");
    }
    let sessions = stage.run(&["--json", "who", HOST]).ok();
    let channels = |line| {
        let session: Value = serde_json::from_str(line).unwrap();
        session["connections"].as_array().unwrap().len()
    };
    let mut channels: Vec<usize> = sessions.lines().map(channels).collect();
    channels.sort_unstable();
    assert_eq!(channels, [1, 2], "{sessions}");
}

#[test]
fn port_in_use_is_an_error_at_once() {
    let stage = stage();
    let _server = stage.joined();
    let taken = TcpListener::bind((HOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let forward = format!("{port}:{HOST}:1");
    for option in [["-L", &forward], ["-D", &port.to_string()]] {
        let words = [&["--json", "run", "-N"], &option[..], &[HOST]].concat();
        stage.run(&words).fails(255, "listen");
        let words = [&["--json", "run"], &option[..], &[HOST, "--", "true"]].concat();
        stage.run(&words).fails(255, "listen");
    }
    // The server's port.
    let words = ["--json", "run", "-N", "-R", &forward, HOST];
    stage.run(&words).fails(255, "unreachable");
}

fn denied(stage: &Stage, target: &str) {
    let words = ["--json", "run", "-W", target, HOST];
    stage.run_with_input(&words, b"").fails(255, "denied");
}

fn reached(stage: &Stage, target: &str) {
    let outcome = stage.run_with_input(&["run", "-W", target, HOST], b"x");
    assert_eq!(
        (outcome.status, outcome.stdout.as_slice()),
        (Some(0), &b"x"[..]),
        "{target}"
    );
}

/// Proves `forward-rebinding` in docs/faults.md.
#[test]
fn rights_decide_where_connections_go() {
    let stage = stage();
    let server = stage.joined();
    let target = Target::echo_at_end();
    let port = target.address.port();
    let by_address = target.address.to_string();
    let by_name = format!("localhost:{port}");
    let own = server.address.clone();
    set_rights(&stage, &server, "role = \"owner\"\nexec = \"any\"");
    denied(&stage, &by_address);
    assert_eq!(server.event("failed")["code"], "denied");
    // Nothing runs, so a user who is no owner may have it.
    set_rights(&stage, &server, "forward = [\"192.0.2.1:80\"]");
    denied(&stage, &by_address);
    set_rights(&stage, &server, &format!("forward = [\"{by_address}\"]"));
    reached(&stage, &by_address);
    denied(&stage, &format!("{HOST}:{}", free_port()));
    denied(&stage, &own);
    set_rights(&stage, &server, &format!("forward = [\"{by_name}\"]"));
    reached(&stage, &by_name);
    denied(&stage, &by_address);
    // The server itself is reached only where its port is named.
    set_rights(&stage, &server, &format!("forward = [\"{HOST}:*\"]"));
    reached(&stage, &by_address);
    denied(&stage, &own);
    // A name that leads to this machine.
    let host = rustix::system::uname();
    let host = host.nodename().to_str().unwrap();
    set_rights(&stage, &server, &format!("forward = [\"{host}:*\"]"));
    denied(&stage, &by_address);
    let check = |target: &str| {
        let state = stage.path("server").display().to_string();
        let words = ["--state", &state, "check", "alice", "forward", "--", target];
        stage.run(&words).status
    };
    assert_eq!(check(&format!("{host}:80")), Some(0));
    assert_eq!(check("other:80"), Some(23));
    assert_eq!(check("other"), Some(23));
}

/// Losing the right ends a connection, and other connections go on.
#[test]
fn connection_ends_with_its_right() {
    let stage = stage();
    let server = stage.joined();
    let (one, other) = (Target::echo(), Target::echo());
    let (port, other_port) = (free_port(), free_port());
    let both = format!("forward = [\"{}\", \"{}\"]", one.address, other.address);
    set_rights(&stage, &server, &both);
    let options = ["-L", &to(port, &one), "-L", &to(other_port, &other)];
    let _forwarding = Forwarding::with_port(&stage, &options, port);
    let mut ending = connect(local(port));
    let mut lasting = connect(local(other_port));
    for stream in [&mut ending, &mut lasting] {
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut [0]).unwrap();
    }
    set_rights(
        &stage,
        &server,
        &format!("forward = [\"{}\"]", other.address),
    );
    assert!(is_reset(&mut ending));
    lasting.write_all(b"y").unwrap();
    let mut answer = [0];
    lasting.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"y");
    set_rights(&stage, &server, "");
    assert!(is_reset(&mut lasting));
}

/// The server's end of a port that `-R` opens, from the first event of the client.
fn announced(forwarding: &mut Forwarding) -> SocketAddr {
    let stderr = forwarding.child.stderr.as_mut().unwrap();
    let mut line = Vec::new();
    let mut byte = [0];
    while byte != *b"\n" {
        stderr.read_exact(&mut byte).unwrap();
        line.push(byte[0]);
    }
    let event: Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(event["event"], "listening");
    event["address"].as_str().unwrap().parse().unwrap()
}

#[test]
fn port_of_the_server_leads_to_the_client() {
    let stage = stage();
    let server = stage.joined();
    let target = Target::echo_at_end();
    let mut forwarding = Forwarding::start(&stage, &["-R", &to(0, &target)]);
    let address = announced(&mut forwarding);
    assert!(address.ip().is_loopback());
    let content = noise(1 << 20, 1);
    assert!(exchange(connect(address), &content) == content);
    assert_eq!(server.event("forward-listen")["address"], "127.0.0.1:0");
    let start = server.event("forward-start");
    assert_eq!(
        (&start["incoming"], &start["target"]),
        (&true.into(), &address.to_string().into())
    );
    for _ in 0..20 {
        reset(connect(address));
    }
    assert!(exchange(connect(address), &content) == content);
    // The right to listen, and that alone.
    set_rights(&stage, &server, "forward = \"any\"");
    let mut status = None;
    wait_for("the end", || {
        status = forwarding.child.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(255));
    assert!(TcpStream::connect(address).is_err());
    let words = ["--json", "run", "-N", "-R", &to(0, &target), HOST];
    stage.run(&words).fails(255, "denied");
    let port = free_port();
    set_rights(&stage, &server, &format!("listen = [\"{port}\"]"));
    let listening = Forwarding::with_port(&stage, &["-R", &to(port, &target)], port);
    assert!(exchange(connect(local(port)), &content) == content);
    drop(listening);
    let all = format!("0.0.0.0:{}", to(port, &target));
    stage
        .run(&["--json", "run", "-N", "-R", &all, HOST])
        .fails(255, "denied");
    denied(&stage, &target.address.to_string());
}

/// A connection for which there is nothing on the client's side is reset.
#[test]
fn refused_on_the_client_is_reset_at_the_server() {
    let stage = stage();
    let _server = stage.joined();
    let nothing = format!("0:{HOST}:{}", free_port());
    let mut forwarding = Forwarding::start(&stage, &["-R", &nothing]);
    let address = announced(&mut forwarding);
    for _ in 0..3 {
        assert!(is_reset(&mut connect(address)));
    }
}

/// Asks a proxy by SOCKS 5, and returns its reply.
fn ask_5(port: u16, host: &str, host_port: u16) -> (TcpStream, u8) {
    let mut stream = connect(local(port));
    stream.write_all(b"\x05\x01\0").unwrap();
    let mut method = [0; 2];
    stream.read_exact(&mut method).unwrap();
    assert_eq!(method, [5, 0]);
    let name = [&[u8::try_from(host.len()).unwrap()], host.as_bytes()].concat();
    let request = [&b"\x05\x01\0\x03"[..], &name, &host_port.to_be_bytes()].concat();
    stream.write_all(&request).unwrap();
    let mut reply = [0; 10];
    stream.read_exact(&mut reply).unwrap();
    (stream, reply[1])
}

#[test]
fn proxy_speaks_socks_4_and_5() {
    let stage = stage();
    let server = stage.joined();
    let target = Target::echo_at_end();
    let target_port = target.address.port();
    let port = free_port();
    let forwarding = Forwarding::with_port(&stage, &["-D", &port.to_string()], port);
    let content = noise(1 << 20, 1);
    let (stream, reply) = ask_5(port, "localhost", target_port);
    assert_eq!(reply, 0);
    assert!(exchange(stream, &content) == content);
    // 4 by address and 4a by name, with content right behind the request.
    let port_bytes = target_port.to_be_bytes();
    let by_address = [&b"\x04\x01"[..], &port_bytes, &[127, 0, 0, 1], b"me\0"].concat();
    let by_name = [&b"\x04\x01"[..], &port_bytes, b"\0\0\0\x01\0localhost\0"].concat();
    for request in [by_address, by_name] {
        let answer = exchange(
            connect(local(port)),
            &[&request, b"more".as_slice()].concat(),
        );
        assert_eq!(answer, [b"\0\x5a\0\0\0\0\0\0".as_slice(), b"more"].concat());
    }
    let (mut refused, reply) = ask_5(port, HOST, free_port());
    assert_eq!(reply, 5);
    assert_eq!(refused.read(&mut [0]).unwrap(), 0);
    assert_eq!(ask_5(port, "no-such-host.invalid", 80).1, 4);
    set_rights(&stage, &server, "forward = [\"192.0.2.1:80\"]");
    assert_eq!(ask_5(port, HOST, target_port).1, 2);
    // Another command, and another protocol.
    let mut bind = connect(local(port));
    bind.write_all(b"\x04\x02\0\x50\x7f\0\0\x01\0").unwrap();
    let mut reply = [0; 8];
    bind.read_exact(&mut reply).unwrap();
    assert_eq!(reply[1], 91);
    let mut web = connect(local(port));
    web.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(web.read(&mut [0]).unwrap_or(0), 0);
    let errors = forwarding.end();
    assert!(
        errors.lines().any(|line| line.contains("not-forwarded")),
        "{errors}"
    );
}

/// A command and forwards share a session.
#[test]
fn command_runs_beside_its_forwards() {
    let stage = stage();
    let server = stage.joined();
    let target = Target::echo_at_end();
    let port = free_port();
    let forward = to(port, &target);
    let words = ["run", "-L", &forward, HOST, "--", "cat"];
    let mut child = stage.command(&words).stdin(Stdio::piped()).spawn().unwrap();
    wait_for("the port", || TcpStream::connect(local(port)).is_ok());
    let open = connect(local(port));
    let (mut forward, mut run) = (Value::Null, Value::Null);
    while forward.is_null() || run.is_null() {
        let event = server.next_event();
        match event["event"].as_str() {
            Some("forward-start") => forward = event["session"].clone(),
            Some("run-start") => run = event["session"].clone(),
            _ => {}
        }
    }
    assert_eq!(forward, run);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"through the command").unwrap();
    drop(stdin);
    server.event("run-end");
    // As with ssh, the connection outlives the command.
    assert_eq!(exchange(open, b"x"), b"x");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"through the command");
    assert!(output.status.success());
}

fn is_open(port: u16) -> bool {
    TcpStream::connect(local(port)).is_ok()
}

#[test]
fn background_begins_once_all_is_ready() {
    let stage = stage();
    let mut server: ServerProcess = stage.joined();
    let target = Target::echo_at_end();
    let port = free_port();
    let forward = to(port, &target);
    let words = ["run", "-f", "-N", "-L", &forward, HOST];
    let run = |words: &[&str]| {
        let mut command = stage.command(words);
        // The process in the background keeps what it inherits.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.status().unwrap().code()
    };
    assert_eq!(run(&words), Some(0));
    assert!(exchange(connect(local(port)), b"x") == b"x");
    assert_eq!(run(&words), Some(255), "the port is in use");
    server.kill();
    wait_for("the end of the process in the background", || {
        !is_open(port)
    });
}
