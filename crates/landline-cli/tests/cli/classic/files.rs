//! Uploads and downloads in either role.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
};

use serde_json::json;
use sha2::{Digest, Sha256};

use super::{MODELS, PythonServer, SEGMENTS, Server, client, dial, output_of, run_client};
use crate::{noise, stage};

/// A name in three scripts, with a space.
const NAME: &str = "报告 Ärger é.txt";

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The names in a folder of the stage.
fn names(stage: &testkit::Stage, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(stage.path(folder)).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Proves `classic-overwrite` in docs/faults.md.
#[test]
fn course_client_uploads_unicode_name() {
    let stage = stage();
    let content = noise(300_000, 5);
    stage.write(&format!("user/{NAME}"), &content);
    stage.write("user/empty", b"");
    for model in MODELS {
        for segments in SEGMENTS {
            let server = Server::start(
                &stage,
                "upload",
                &["--json", "--model", model, "--overwrite"],
            );
            run_client(
                &stage,
                &server,
                "upload",
                segments,
                &[NAME, "empty", &format!("second={NAME}")],
            );
            for (name, size) in [(NAME, 300_000), ("empty", 0), ("second", 300_000)] {
                let event = server.event("stored");
                assert_eq!(
                    (&event["name"], &event["size"]),
                    (&name.into(), &size.into()),
                    "{model} {segments}"
                );
                assert_eq!(event["rest"]["msg"], "got it");
                assert!(event["rest"]["md5"].is_string());
            }
            assert_eq!(stage.read(&format!("home/{NAME}")), content);
            assert_eq!(names(&stage, "home"), ["empty", "second", NAME]);
            let mode = fs::metadata(stage.path("home/second"))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o111, 0, "an uploaded file is not executable");
            fs::remove_file(stage.path(&format!("home/{NAME}"))).unwrap();
        }
    }
}

#[test]
fn upload_message_is_printed_and_rest_logged() {
    let stage = stage();
    stage.write("user/f", b"content");
    let server = Server::start(&stage, "upload", &[]);
    run_client(&stage, &server, "upload", "whole", &["f"]);
    assert_eq!(server.line(), "got it");
    fs::remove_file(stage.path("home/f")).unwrap();
    let server = Server::start(&stage, "upload", &["--json"]);
    run_client(&stage, &server, "upload", "whole", &["f"]);
    let stored = server.event("stored");
    assert_eq!((&stored["name"], &stored["size"]), (&json!("f"), &json!(7)));
    assert_eq!(stored["rest"]["msg"], "got it");
    assert!(stored["rest"]["md5"].is_string(), "{stored}");
}

#[test]
fn upload_in_other_encoding_keeps_name() {
    let stage = stage();
    stage.write(&format!("user/{NAME}"), b"{}");
    for dialect in ["upload", "upload-bare"] {
        let server = Server::start(&stage, dialect, &["--encoding", "gb18030", "--overwrite"]);
        output_of(
            client(&stage, &server, dialect, &[NAME])
                .env("ENCODING", "gb18030")
                .env("SEGMENTS", "bytes"),
        );
        assert_eq!(names(&stage, "home"), [NAME], "{dialect}");
        fs::remove_file(stage.path(&format!("home/{NAME}"))).unwrap();
    }
}

#[test]
fn bare_header_is_found_before_any_content() {
    let stage = stage();
    for (number, content) in [
        &b"{\"filename\": \"x\"}"[..],
        b"",
        b"}}}\"",
        &noise(100_000, 3),
    ]
    .into_iter()
    .enumerate()
    {
        for segments in SEGMENTS {
            let name = format!("{number} {{\\\"{segments}}}.txt").replace('\\', "");
            stage.write(&format!("user/{name}"), content);
            let server = Server::start(&stage, "upload-bare", &[]);
            run_client(&stage, &server, "upload-bare", segments, &[&name]);
            testkit::wait_for("the file", || stage.path(&format!("home/{name}")).exists());
            assert_eq!(stage.read(&format!("home/{name}")), content, "{name}");
        }
    }
}

/// Proves `classic-overwrite` in docs/faults.md.
#[test]
fn upload_replaces_file_only_on_request() {
    let stage = stage();
    stage.write("user/f", b"new");
    stage.write("home/f", b"old");
    let server = Server::start(&stage, "upload", &["--ack"]);
    let receipts = run_client(&stage, &server, "upload", "bytes", &["f", "g=f"]);
    assert_eq!(
        receipts,
        "{\"error\": \"f: already exists\", \"ok\": false}\n{\"file_name\": \"g\", \"file_size\": 3, \"ok\": true}\n"
    );
    assert_eq!(
        (stage.read("home/f"), stage.read("home/g")),
        (b"old".to_vec(), b"new".to_vec())
    );
    let file = stage.path("user/f");
    let file = file.to_str().unwrap();
    dial(
        &stage,
        "upload",
        &server.address,
        &["--json", "--ack", file],
    )
    .fails(27, "not-stored");
    let server = Server::start(&stage, "upload", &["--ack", "--overwrite"]);
    let said = dial(&stage, "upload", &server.address, &["--ack", file]).ok();
    assert_eq!(
        (said.as_str(), stage.read("home/f")),
        ("f: 3 bytes, stored as f\n", b"new".to_vec())
    );
}

#[test]
fn files_of_same_name_are_kept_apart() {
    let stage = stage();
    for (number, content) in ["one", "two", "three"].iter().enumerate() {
        stage.write(&format!("user/{number}"), content.as_bytes());
    }
    for model in MODELS {
        let options = ["--ack", "--same-name", "number", "--model", model];
        let server = Server::start(&stage, "upload", &options);
        let uploads = ["home.py=0", "home.py=1", "home.py=2", "报告=0", "报告=1"];
        let receipts = run_client(&stage, &server, "upload", "whole", &uploads);
        assert_eq!(receipts.matches("\"ok\": true").count(), 5, "{receipts}");
        for (name, content) in [
            ("home.py", "one"),
            ("home-2.py", "two"),
            ("home-3.py", "three"),
            ("报告", "one"),
            ("报告-2", "two"),
        ] {
            let path = format!("home/{name}");
            assert_eq!(stage.read(&path), content.as_bytes(), "{name}");
            fs::remove_file(stage.path(&path)).unwrap();
        }
        // Two that are under way at the same time.
        let mut clients = [begin_upload(&server, "x"), begin_upload(&server, "x")];
        for client in &mut clients {
            client.write_all(b"56789").unwrap();
            client.shutdown(std::net::Shutdown::Write).unwrap();
            client.read_to_end(&mut Vec::new()).unwrap();
        }
        assert_eq!(names(&stage, "home"), ["x", "x-2"], "{model}");
        for name in ["home/x", "home/x-2"] {
            fs::remove_file(stage.path(name)).unwrap();
        }
    }
    let server = Server::start(&stage, "upload", &["--same-name", "folder"]);
    let port = server.address.rsplit(':').next().unwrap();
    for (sender, content) in [("127.0.0.1", "one"), ("127.0.0.2", "two")] {
        let program = format!(
            "import json, socket, struct; \
             s = socket.create_connection(('127.0.0.1', {port}), source_address=('{sender}', 0)); \
             h = json.dumps({{'file_name': 'home.py', 'file_size': 3}}).encode(); \
             s.sendall(struct.pack('i', len(h)) + h + b'{content}'); s.shutdown(1); s.recv(1)"
        );
        output_of(std::process::Command::new("python3").args(["-c", &program]));
        assert_eq!(
            stage.read(&format!("home/{sender}/home.py")),
            content.as_bytes()
        );
    }
}

#[test]
fn header_keys_can_be_chosen() {
    let stage = stage();
    let file = stage.write("user/f", b"content");
    let file = file.to_str().unwrap();
    let keys = ["--name-key", "name", "--size-key", "len"];
    for dialect in ["upload", "upload-bare"] {
        let options = [&keys[..], &["--overwrite", "--show", "--json"]].concat();
        let server = Server::start(&stage, dialect, &options);
        dial(
            &stage,
            dialect,
            &server.address,
            &[&keys[..], &[file]].concat(),
        )
        .ok();
        assert_eq!(stage.read("home/f"), b"content");
        let header = server.event("recv")["bytes"].to_string();
        assert!(
            header.contains(r#""name"#) && header.contains(r#""len"#),
            "{header}"
        );
    }
    let keys = ["--size-key", "data_size", "--code-key", "status"];
    let options = [&keys[..], &["--open", "--show", "--json"]].concat();
    let server = Server::start(&stage, "command-json", &options);
    let arguments = [&["--json"], &keys[..], &["exit 3"]].concat();
    dial(&stage, "command-json", &server.address, &arguments).fails(3, "command-failed");
    let header = server.event("send")["bytes"].to_string();
    assert!(
        header.contains("data_size") && header.contains("status"),
        "{header}"
    );
}

/// A client that has begun to upload ten bytes with this name.
fn begin_upload(server: &Server, name: &str) -> TcpStream {
    let header = serde_json::json!({"file_name": name, "file_size": 10}).to_string();
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream
        .write_all(&i32::try_from(header.len()).unwrap().to_le_bytes())
        .unwrap();
    stream
        .write_all(format!("{header}01234").as_bytes())
        .unwrap();
    stream
}

/// Proves `classic-half-file` in docs/faults.md.
#[test]
fn restart_removes_only_own_unfinished_uploads() {
    let stage = stage();
    stage.write(
        "home/.landline-0123456789abcdef.part",
        b"a copy that can be resumed",
    );
    stage.write("home/thesis.part", b"not from landline");
    let killed = Server::start(&stage, "upload", &[]);
    let _client = begin_upload(&killed, "cut");
    testkit::wait_for("the staging file", || names(&stage, "home").len() == 3);
    drop(killed);
    assert_eq!(
        names(&stage, "home").len(),
        3,
        "SIGKILL leaves the staging file"
    );

    let server = Server::start(&stage, "upload", &["--ack"]);
    assert_eq!(
        names(&stage, "home"),
        [".landline-0123456789abcdef.part", "thesis.part"]
    );
    let mut client = begin_upload(&server, "whole");
    testkit::wait_for("the staging file", || names(&stage, "home").len() == 3);
    // A second server in the same folder leaves the staging files of the first one alone.
    drop(Server::start(&stage, "upload-bare", &[]));
    client.write_all(b"56789").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut receipt = Vec::new();
    client.read_to_end(&mut receipt).unwrap();
    assert_eq!(stage.read("home/whole"), b"0123456789");
    assert_eq!(names(&stage, "home").len(), 3);
}

#[test]
fn dial_upload_checks_receipt() {
    let stage = stage();
    let content = noise(2_000_000, 9);
    let file = stage.write(&format!("user/{NAME}"), &content);
    for segments in SEGMENTS {
        let server = PythonServer::with(&stage, "upload", segments, &[], &[("ACK", "1")]);
        let arguments = ["--ack", "--msg", "done", file.to_str().unwrap()];
        let said = dial(&stage, "upload", &server.address, &arguments).ok();
        assert_eq!(said, format!("{NAME}: 2000000 bytes, stored as {NAME}\n"));
        assert_eq!(server.line(), format!("{NAME} done {}", sha256(&content)));
    }
    let server = PythonServer::start(&stage, "upload-bare", "whole", &[]);
    let said = dial(
        &stage,
        "upload-bare",
        &server.address,
        &[file.to_str().unwrap()],
    );
    assert!(said.stderr.is_empty(), "{}", said.stderr);
    assert_eq!(said.ok(), format!("{NAME}: 2000000 bytes sent\n"));
    assert_eq!(server.line(), format!("{NAME} {}", sha256(&content)));
}

#[test]
fn download_is_complete_in_either_role() {
    let stage = stage();
    let content = noise(700_001, 11);
    stage.write(&format!("home/{NAME}"), &content);
    fs::create_dir(stage.path("home/sub")).unwrap();
    stage.write("home/sub/deep", b"below");
    let server = Server::start(&stage, "download", &[]);
    for segments in SEGMENTS {
        let said = run_client(
            &stage,
            &server,
            "download",
            segments,
            &[NAME, "absent", "sub/deep", "sub"],
        );
        let expected = [
            format!("{NAME} 700001 {}", sha256(&content)),
            "absent: no such file".to_owned(),
            format!("sub/deep 5 {}", sha256(b"below")),
            "sub: not a regular file".to_owned(),
        ];
        assert_eq!(said.lines().collect::<Vec<_>>(), expected, "{segments}");
        let server = PythonServer::start(&stage, "download", segments, &[]);
        dial(
            &stage,
            "download",
            &server.address,
            &[NAME, "sub/deep", "--overwrite"],
        )
        .ok();
        assert_eq!(
            (stage.read(&format!("user/{NAME}")), stage.read("user/deep")),
            (content.clone(), b"below".to_vec())
        );
    }
    dial(&stage, "download", &server.address, &["--json", NAME]).fails(22, "exists");
    dial(&stage, "download", &server.address, &["--json", "absent"]).fails(20, "not-sent");
    let server = PythonServer::start(&stage, "download", "whole", &[]);
    let outcome = dial(&stage, "download", &server.address, &["absent"]);
    assert_eq!(outcome.status, Some(20));
    let said = outcome.stderr;
    assert!(said.contains("\\u{1b}[31m"), "{said}");
    assert!(!said.contains('\u{1b}'), "{said}");
}

/// Proves `classic-path-traversal` and `classic-half-file` in docs/faults.md.
#[test]
fn cut_download_leaves_nothing_and_client_names_file() {
    let stage = stage();
    stage.write("home/f", &noise(10_000, 1));
    let server = PythonServer::with(&stage, "download", "whole", &[], &[("CUT", "9999")]);
    dial(&stage, "download", &server.address, &["--json", "f"]).fails(13, "dialect");
    assert_eq!(names(&stage, "user"), Vec::<String>::new());
    let server = PythonServer::with(
        &stage,
        "download",
        "whole",
        &[],
        &[("NAME", "../../home/evil")],
    );
    dial(&stage, "download", &server.address, &["f"]).ok();
    assert_eq!(
        (names(&stage, "user"), names(&stage, "home")),
        (vec!["f".to_owned()], vec!["f".to_owned()])
    );
}

/// Proves `classic-path-traversal` in docs/faults.md.
#[test]
fn state_folder_is_not_served() {
    let stage = stage();
    stage.write("client/key", b"secret");
    let dir = stage.path("");
    let server = Server::start(&stage, "download", &["--dir", dir.to_str().unwrap()]);
    let said = run_client(
        &stage,
        &server,
        "download",
        "whole",
        &["client/key", "home/../client/key", "/etc/passwd", "~/x"],
    );
    assert_eq!(
        said.matches("not a name that is served").count(),
        4,
        "{said}"
    );
}
