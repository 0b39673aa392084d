//! Profiles: a dialect, its address and its options under one name.

use std::fs;

use super::Server;
use crate::stage;

#[test]
fn profile_expands_to_its_arguments() {
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

    for arguments in [
        ["dial", "--profile", "ghost"],
        ["dial", "--profile", "broken"],
        ["serve", "--profile", "classroom"],
    ] {
        stage
            .run(&[&["--json", "classic"][..], &arguments].concat())
            .fails(2, "usage");
    }
    fs::remove_file(stage.path(file)).unwrap();
    stage
        .run(&["--json", "classic", "dial", "--profile", "classroom"])
        .fails(2, "usage");
}
