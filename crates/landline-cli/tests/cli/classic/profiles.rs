//! Profiles: a dialect, its address and its options by a name.

use std::fs;

use super::Server;
use crate::stage;

#[test]
fn a_profile_stands_for_the_words_that_it_keeps() {
    let stage = stage();
    fs::create_dir_all(stage.path("user/.config/landline")).unwrap();
    let file = "user/.config/landline/classic.toml";
    stage.write(file, b"[classroom]\nserve = [\"echo\", \"--upper\"]\n");
    let server = Server::start(&stage, "--profile=classroom", &[]);
    let profiles = format!(
        "[classroom]\ndial = [\"echo\", \"{}\"]\n[broken]\ndial = \"echo\"\n",
        server.address
    );
    stage.write(file, profiles.as_bytes());
    assert_eq!(
        stage
            .run(&["classic", "dial", "--profile", "classroom", "straße"])
            .ok()
            .trim_end(),
        "STRASSE"
    );

    for (arguments, words) in [
        (
            ["dial", "--profile", "nobody"],
            "there is no [nobody]; there are: classroom, broken",
        ),
        (["dial", "--profile", "broken"], "[broken] needs dial = "),
        (
            ["serve", "--profile", "classroom"],
            "[classroom] needs serve = ",
        ),
    ] {
        stage
            .run(&[&["classic"][..], &arguments].concat())
            .fails(2, words);
    }
    fs::remove_file(stage.path(file)).unwrap();
    stage
        .run(&["classic", "dial", "--profile", "classroom"])
        .fails(2, "there is no profile \"classroom\"");
}
