//! `landline cp --compress`.

use std::fs;

use crate::{noise, resume::RelayedServer};

/// Text of 4 MB, which shrinks to a small part.
fn text() -> Vec<u8> {
    let lines = (0..80_000).map(|n| format!("the same words again, and the number {n:>11}\n"));
    lines.collect::<String>().into_bytes()
}

#[test]
fn compressed_copy_moves_fewer_bytes() {
    let relayed = RelayedServer::new(3);
    let (stage, relay) = (&relayed.stage, &relayed.relay);
    let text = text();
    stage.write("user/text", &text);
    stage.write("home/text", &text);
    let ends = [
        ["text".to_owned(), relayed.via_relay("up")],
        [relayed.via_relay("text"), "down".to_owned()],
    ];
    for ([source, destination], copy) in ends.iter().zip(["home/up", "user/down"]) {
        // The connection is cut after less than a third of the text.
        relay.cut_after(1_000_000);
        stage
            .run(&["cp", "--retry", "0", "-z", source, destination])
            .ok();
        assert!(stage.read(copy) == text, "{copy}");
        fs::remove_file(stage.path(copy)).unwrap();
        relay.cut_after(1_000_000);
        let cut = stage.run(&["cp", "--retry", "0", "-p", source, destination]);
        assert_ne!(cut.status, Some(0), "without compression");
        relay.mend();
    }
}

#[test]
fn content_of_all_kinds_is_the_same_after_compression() {
    let relayed = RelayedServer::new(4);
    let stage = &relayed.stage;
    fs::create_dir_all(stage.path("user/tree/empty")).unwrap();
    stage.write("user/tree/text", &text());
    stage.write("user/tree/noise", &noise(3_000_000, 9));
    // Text behind noise, as in an archive.
    stage.write("user/tree/both", &[noise(300_000, 1), text()].concat());
    stage.write("user/tree/nothing", b"");
    for n in 0..200 {
        stage.write(&format!("user/tree/{n}"), &noise(n * 10, n as u64));
    }
    let place = relayed.via_relay("tree");
    stage.run(&["cp", "-rz", "tree", &place]).ok();
    stage.run(&["cp", "-rC", &place, "back"]).ok();
    for folder in ["home/tree", "user/back"] {
        let same = std::process::Command::new("diff")
            .arg("-r")
            .args([stage.path("user/tree"), stage.path(folder)])
            .output();
        assert!(same.unwrap().status.success(), "{folder}");
    }
}
