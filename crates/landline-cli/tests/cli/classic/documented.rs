//! Every program in `docs/classic.md` works against the server that is shown above it.

use std::{fs, path::Path, process::Command};

use super::{Server, output_of};
use crate::{passwords::file as private_file, stage};

/// Each server of the document and the client below it.
fn examples() -> Vec<(Vec<String>, String)> {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/classic.md");
    let text = fs::read_to_string(document).unwrap();
    let block = |text: &str, language: &str| -> Option<String> {
        let (_, rest) = text.split_once(&format!("```{language}\n"))?;
        Some(rest.split_once("```")?.0.to_owned())
    };
    text.split("\n## ")
        .skip(1)
        .filter(|section| !section.starts_with("Lessons\n"))
        .map(|section| {
            let serve = block(section, "sh").expect("a server");
            let words = serve
                .trim()
                .strip_prefix("landline classic serve ")
                .expect("a server");
            let words = words.replace("\"at your service\"", "at_your_service");
            (
                words.split(' ').map(str::to_owned).collect(),
                block(section, "python").expect("a client"),
            )
        })
        .collect()
}

/// The code blocks of a page with their languages, in order.
fn code_blocks(page: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs")
        .join(page);
    let text = fs::read_to_string(path).unwrap();
    let fences: Vec<&str> = text.split("```").collect();
    assert_eq!(fences.len() % 2, 1, "{page}: a block has no end");
    fences
        .into_iter()
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// So the programs of the Chinese page work, too.
#[test]
fn pages_in_both_languages_have_the_same_code() {
    let english = code_blocks("classic.md");
    assert!(english.len() > 30, "{} blocks", english.len());
    assert_eq!(code_blocks("classic.zh-CN.md"), english);
}

#[test]
fn documented_programs_work() {
    let stage = stage();
    let examples = examples();
    assert_eq!(examples.len(), 15, "a dialect is missing");
    private_file(&stage, "home/accounts", "zd:1");
    private_file(&stage, "home/secret", "s3cret");
    for (words, client) in examples {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (dialect, arguments) = words.split_first().unwrap();
        let server = Server::start(&stage, dialect, arguments);
        let port = server.address.rsplit(':').next().unwrap();
        assert!(client.contains("5264"), "{dialect}");
        let mut python = Command::new("python3");
        python
            .args(["-c", &client.replace("5264", port)])
            .current_dir(stage.home())
            .env("PYTHONIOENCODING", "utf-8");
        let said = output_of(&mut python);
        let expected = match *dialect {
            "echo" => "STRASSE",
            "sink" => "end b''",
            "udp-sink" => "sent",
            "text" => "你好",
            "command" => "Linux",
            "command-raw" => "1\n2\n3",
            "command-json" => "3 out",
            "upload" => "\"ok\":true",
            "upload-bare" => "done b''",
            // The download needs the file of an earlier upload.
            "download" => "'file_size': 3} 3",
            "login" => "welcome",
            "challenge" => "ok",
            "udp-echo" => "HELLO",
            "udp-chat" => "said",
            "talk" => "at_your_service",
            other => panic!("{other} is new: say what its client prints"),
        };
        assert!(said.contains(expected), "{dialect}: {said}");
    }
    assert_eq!(stage.read("home/报告 é.txt"), "何か".as_bytes());
    assert_eq!(stage.read("home/a.txt"), b"abc");
}
