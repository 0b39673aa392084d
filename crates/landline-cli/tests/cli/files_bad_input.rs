//! Files and names that must not be copied.

use std::{fs, os::unix, process::Command};

use serde_json::{Value, json};
use testkit::{Census, Mount, RawClient, ServerProcess, Stage};

use crate::{noise, stage};

/// Proves `special-file` in docs/faults.md.
#[test]
fn only_regular_files_are_copied() {
    let stage = stage();
    let server = stage.joined();
    stage.write("user/file", b"x");
    for folder in ["user", "home"] {
        fs::create_dir(stage.path(&format!("{folder}/folder"))).unwrap();
        assert!(
            Command::new("mkfifo")
                .arg(stage.path(&format!("{folder}/fifo")))
                .status()
                .unwrap()
                .success()
        );
    }
    let _socket = unix::net::UnixListener::bind(stage.path("home/socket")).unwrap();
    let _socket = unix::net::UnixListener::bind(stage.path("user/socket")).unwrap();
    unix::fs::symlink("/dev/zero", stage.path("home/zero")).unwrap();
    unix::fs::symlink(stage.path("home/fifo"), stage.path("home/link")).unwrap();
    let before = Census::of(&stage.home());
    for name in ["fifo", "socket", "/dev/zero"] {
        stage
            .run(&["--json", "cp", name, &server.at("x")])
            .fails(21, "not-a-file");
    }
    stage
        .run(&["--json", "cp", "folder", &server.at("x")])
        .fails(21, "not-a-file");
    stage
        .run(&["--json", "cp", &server.at("folder"), "x"])
        .fails(21, "not-a-file");
    stage
        .run(&["--json", "cp", &server.at("fifo"), "x"])
        .fails(21, "not-a-file");
    stage
        .run(&["--json", "cp", &server.at("socket"), "x"])
        .fails(21, "not-a-file");
    stage
        .run(&["--json", "cp", &server.at("zero"), "x"])
        .fails(23, "name-refused");
    for name in ["fifo", "socket", "link", "zero"] {
        let outcome = stage.run(&["cp", "file", &server.at(name)]);
        assert!(
            matches!(outcome.status, Some(21 | 23)),
            "{name}: {outcome:?}"
        );
    }
    stage
        .run(&["--json", "cp", &server.at("absent"), "x"])
        .fails(20, "not-found");
    stage
        .run(&["--json", "cp", "absent", &server.at("x")])
        .fails(20, "not-found");
    stage
        .run(&["--json", "cp", "file", &server.at("absent/x")])
        .fails(20, "not-found");
    stage
        .run(&["--json", "cp", "file", &server.at("fifo/x")])
        .fails(21, "not-a-file");
    assert_eq!(Census::of(&stage.home()), before);
    assert!(!stage.path("user/x").exists());
}

#[test]
fn no_clobber_keeps_existing_file() {
    let stage = stage();
    let server = stage.joined();
    stage.write("user/file", b"new");
    stage.write("home/there", b"old");
    stage
        .run(&["--json", "cp", "-n", "file", &server.at("there")])
        .fails(22, "exists");
    stage
        .run(&["--json", "cp", "-n", &server.at("there"), "file"])
        .fails(22, "exists");
    assert_eq!(
        (stage.read("home/there"), stage.read("user/file")),
        (b"old".to_vec(), b"new".to_vec())
    );
    stage.run(&["cp", "-n", "file", &server.at("fresh")]).ok();
}

/// Proves `link-in-path` in docs/faults.md.
#[test]
fn links_do_not_leave_the_home() {
    let stage = stage();
    let server = stage.joined();
    fs::create_dir(stage.path("outside")).unwrap();
    stage.write("outside/secret", b"secret");
    unix::fs::symlink(stage.path("outside"), stage.path("home/out")).unwrap();
    unix::fs::symlink("../outside/secret", stage.path("home/file")).unwrap();
    stage.write("user/file", b"x");
    let before = Census::of(&stage.path("outside"));
    for path in [
        "out",
        "out/",
        "out/secret",
        "out/new",
        "file",
        "out/../x",
        "../outside/secret",
    ] {
        let up = stage.run(&["cp", "file", &server.at(path)]);
        assert!(matches!(up.status, Some(21 | 23)), "{path}: {up:?}");
        let down = stage.run(&["cp", &server.at(path), "got"]);
        assert!(
            matches!(down.status, Some(20 | 21 | 23)),
            "{path}: {down:?}"
        );
    }
    let absolute = stage.path("outside/secret").display().to_string();
    stage
        .run(&["--json", "cp", &server.at(&absolute), "got"])
        .fails(23, "denied");
    assert_eq!(Census::of(&stage.path("outside")), before);
    assert!(!stage.path("user/got").exists());
    // A link that stays within the home is followed for reading.
    stage.write("home/real", b"real");
    unix::fs::symlink("real", stage.path("home/inner")).unwrap();
    stage.run(&["cp", &server.at("inner"), "got"]).ok();
    assert_eq!(stage.read("user/got"), b"real");
}

/// Path traversal names from a client that does not check them.
/// Proves `path-traversal` in docs/faults.md.
#[test]
fn hostile_names_are_refused() {
    let stage = stage();
    let server = stage.joined();
    let before = Census::of(&stage.home());
    let mut client = logged_in(&stage, &server);
    let names = hostile_names();
    assert!(names.len() >= 2000, "{}", names.len());
    for name in &names {
        client
            .send_json(&json!({"type": "get", "path": name}))
            .unwrap();
        assert_eq!(code(&mut client), "name-refused", "get {name}");
        let put = json!({"type": "put", "path": name, "length": 0, "mode": 420, "replace": true});
        client.send_json(&put).unwrap();
        assert_eq!(code(&mut client), "name-refused", "put {name}");
        for kind in ["list", "sum", "usage", "space", "make-folder", "remove"] {
            let request = json!({
                "type": kind, "path": name, "pattern": true, "recursive": true, "parents": true,
            });
            client.send_json(&request).unwrap();
            assert_eq!(code(&mut client), "name-refused", "{kind} {name}");
        }
        let get = json!({"type": "get-tree", "paths": [name], "folders": true});
        client.send_json(&get).unwrap();
        assert_eq!(code(&mut client), "name-refused", "get-tree {name}");
        for (path, to) in [(name, &json!("x")), (&json!("x"), name)] {
            let request = json!({"type": "move", "path": path, "to": to, "replace": true});
            client.send_json(&request).unwrap();
            let refused = code(&mut client);
            assert!(
                ["name-refused", "not-found"].contains(&&*refused),
                "move {path} {to}"
            );
        }
    }
    // The same for the file name that goes with the path of a folder.
    for name in ["..", ".", "", "a/b", "/", "a\0b", "../x"] {
        let put = json!({"type": "put", "path": ".", "name": name, "length": 0, "mode": 420, "replace": true});
        client.send_json(&put).unwrap();
        assert_eq!(code(&mut client), "name-refused", "name {name:?}");
    }
    assert_eq!(Census::of(&stage.home()), before);
    stage.run(&["ping", "127.0.0.1"]).ok();
}

fn hostile_names() -> Vec<Value> {
    let bad = ["..", ".", "", "a\0b"];
    let mut names: Vec<Value> = vec![
        json!({"b64": "Li4="}),
        json!({"b64": "YQBi"}),
        json!({"b64": "/y8uLg=="}),
    ];
    names.extend(
        [
            "a//",
            "//",
            "a/..",
            "~/..",
            "./..",
            "/..",
            ".landline-0.part",
        ]
        .map(Value::from),
    );
    names.push("x".repeat(256).into());
    names.push("d/".repeat(5000).into());
    names.push("".into());
    // Every bad component at every depth, after every kind of prefix.
    for prefix in ["", "~/", "./", "/"] {
        for depth in 0..10 {
            for tail in 0..13 {
                for bad in bad {
                    let components: Vec<&str> = std::iter::repeat_n("d", depth)
                        .chain([bad])
                        .chain(std::iter::repeat_n("t", tail))
                        .collect();
                    let name = format!("{prefix}{}", components.join("/"));
                    // Some of these are valid: they name the home, the root or a folder.
                    let body = name
                        .strip_prefix("~/")
                        .or(name.strip_prefix("./"))
                        .unwrap_or(&name);
                    let sound = ["", "/", "."].contains(&body) && prefix != "~/"
                        || name == "~/"
                        || name == "/";
                    let trailing = bad.is_empty() && tail == 0 && depth > 0;
                    let leading = bad.is_empty() && depth == 0 && tail > 0 && prefix.is_empty();
                    let dot_first = bad == "." && depth == 0 && prefix.is_empty();
                    if !(sound && !name.is_empty() || trailing || leading || dot_first) {
                        names.push(name.into());
                    }
                }
            }
        }
    }
    names
}

/// A full disk, for which the test mounts a small file system. Needs root.
/// Proves `disk-full` in docs/faults.md.
#[test]
fn full_disk_is_reported_and_leaves_nothing() {
    let stage = stage();
    let Some(disk) = Mount::disk(&stage.home(), "size=4m,nr_inodes=100") else {
        return;
    };
    let server = stage.joined();
    stage.write("home/old", b"old");
    stage.write("user/big", &noise(8 << 20, 3));
    // The length is known to be too large before the first byte.
    stage
        .run(&["--json", "cp", "big", &server.at("old")])
        .fails(24, "no-space");
    // The length of a stream is not known in advance.
    let outcome = stage.run_with_input(
        &["--json", "cp", "-", &server.at("old")],
        &noise(8 << 20, 4),
    );
    outcome.fails(24, "no-space");
    assert_eq!(stage.read("home/old"), b"old");
    assert_eq!(Census::of(&stage.home()).paths(), ["old"]);
    stage.write("user/small", b"small");
    stage.run(&["cp", "small", &server.at("small")]).ok();
    drop(server);
    drop(disk);
}

/// A sparse file of 8 TiB, which is larger than the receiver's disk.
/// Proves `absurd-length` in docs/faults.md.
#[test]
fn sparse_file_beyond_free_space_is_refused() {
    let stage = stage();
    let server = stage.joined();
    let source = stage.path("user/sparse");
    let sparse = fs::File::create(&source).unwrap();
    if sparse.set_len(8 << 40).is_err() {
        eprintln!("SKIPPED: this file system has no sparse files of 8 TiB");
        return;
    }
    let names = |folder: &str| fs::read_dir(stage.path(folder)).unwrap().count();
    stage
        .run(&["--json", "cp", "sparse", &server.at("x")])
        .fails(24, "no-space");
    assert_eq!(names("home"), 0, "the server keeps nothing");
    fs::rename(&source, stage.path("home/sparse")).unwrap();
    stage
        .run(&["--json", "cp", &server.at("sparse"), "x"])
        .fails(24, "no-space");
    assert_eq!(names("user"), 0, "the client keeps nothing");
}

fn logged_in(stage: &Stage, server: &ServerProcess) -> RawClient {
    let mut client = RawClient::connect(&server.address, &server.fingerprint).unwrap();
    assert_eq!(
        client
            .login("alice", &crate::login::client_key(stage), None)
            .unwrap(),
        "welcome"
    );
    client
        .send_json(&json!({"type": "open", "service": "files"}))
        .unwrap();
    client
}

fn code(client: &mut RawClient) -> String {
    client.error_code().unwrap().expect("an error")
}

/// The server's key and accounts may be below the home, but cannot be copied.
#[test]
fn state_folder_is_unreachable_through_home() {
    let stage = stage();
    let state = stage.path("home/.state");
    let mut command = stage.serve_command("127.0.0.1:0");
    command.env("LANDLINE_STATE", &state);
    let server = stage.serve_with(command);
    stage
        .run_with_input(&["join", "-", "--as", "alice"], server.invite().as_bytes())
        .ok();
    unix::fs::symlink(".state/server", stage.path("home/link")).unwrap();
    stage.write("user/file", b"x");
    for (path, status, code) in [
        (".state/server/identity.key", 23, "denied"),
        ("link/identity.key", 23, "denied"),
        ("link/accounts.db", 23, "denied"),
        (".state/new", 20, "not-found"),
    ] {
        stage
            .run(&["--json", "cp", &server.at(path), "got"])
            .fails(status, code);
        stage
            .run(&["--json", "cp", "file", &server.at(path)])
            .fails(23, "denied");
    }
    assert!(!stage.path("user/got").exists());
    stage.run(&["ping", "127.0.0.1"]).ok();
}

/// A client may choose the digest algorithm. Content with another digest is never stored.
/// Proves `silent-corruption` in docs/faults.md.
#[test]
fn content_with_wrong_digest_is_discarded() {
    let stage = stage();
    let server = stage.joined();
    let key = crate::login::client_key(&stage);
    let before = Census::of(&stage.home());
    let another = format!("blake3:{}", "0".repeat(64));
    let sha256_of_x = "sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
    for (algorithm, digest, stored) in [
        ("sha256", sha256_of_x, true),
        ("sha256", &sha256_of_x.replace("2d", "2e")[..], false),
        ("blake3", sha256_of_x, false),
        ("sha256", &another, false),
    ] {
        let mut client = RawClient::connect(&server.address, &server.fingerprint).unwrap();
        client.login("alice", &key, None).unwrap();
        client
            .send_json(&json!({"type": "open", "service": "files"}))
            .unwrap();
        let put = json!({
            "type": "put", "path": "x", "length": 1, "mode": 420, "replace": true, "source": "ab", "algorithm": algorithm,
        });
        client.send_json(&put).unwrap();
        client
            .send_json(&json!({"type": "data", "offset": 0, "size": 1}))
            .unwrap();
        client.send(&testkit::frame("x")).unwrap();
        client
            .send_json(&json!({"type": "finish", "length": 1, "digest": digest}))
            .unwrap();
        assert_eq!(client.header().unwrap().unwrap().kind(), "ready");
        let answer: Value = client.header().unwrap().unwrap().read().unwrap();
        if stored {
            assert_eq!(
                (&answer["type"], &answer["digest"]),
                (&json!("done"), &json!(digest))
            );
            fs::remove_file(stage.path("home/x")).unwrap();
        } else {
            assert_eq!(answer["code"], "digest-mismatch", "{algorithm} {digest}");
        }
        assert_eq!(Census::of(&stage.home()), before, "{algorithm} {digest}");
    }
}
