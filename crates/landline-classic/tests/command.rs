#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a test"
)]
//! Both halves of the command dialects, joined in memory.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use landline_classic::{
    ClassicEvent, ClassicSink, Connection, Dialect, Service,
    codec::Charset,
    command::{self, Answered, CommandForm, CommandOptions},
};
use tokio::io::DuplexStream;

const PATIENCE: Duration = Duration::from_secs(60);

/// A client at a server of commands, and what the server reports.
fn joined(
    form: CommandForm,
    output_bytes_max: u64,
) -> (Connection<DuplexStream>, Arc<Mutex<Vec<ClassicEvent>>>) {
    let options = CommandOptions {
        form,
        child_charset: None,
        bye: "zaijian".into(),
        time_max: PATIENCE,
        output_bytes_max,
        spool_folder: std::env::temp_dir(),
    };
    let service = Service {
        dialect: Dialect::Command(options),
        charset: Charset::default(),
        challenge: None,
        pause: Duration::from_millis(20),
        idle_time_max: PATIENCE,
    };
    let (client, server) = tokio::io::duplex(1000);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = seen.clone();
    let events: ClassicSink = Arc::new(move |event| sink.lock().unwrap().push(event));
    tokio::spawn(async move {
        service
            .serve(server, "memory".into(), std::future::pending(), &events)
            .await
    });
    (Connection::new(client, PATIENCE), seen)
}

async fn run(
    line: &mut Connection<DuplexStream>,
    form: CommandForm,
    text: &str,
) -> (Answered, Vec<u8>) {
    let mut output = Vec::new();
    command::send(line, Charset::default(), text).await.unwrap();
    let answered = command::receive_answer(line, Charset::default(), form, &mut output)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(answered.bytes, output.len() as u64);
    (answered, output)
}

#[tokio::test]
async fn output_that_does_not_fit_into_memory_arrives_whole_and_in_order() {
    for form in [CommandForm::Sized, CommandForm::Json] {
        let (mut line, _) = joined(form, 1 << 30);
        let (_, output) = run(&mut line, form, "echo last >&2; seq 200000").await;
        let expected: String = (1..=200_000).map(|number| format!("{number}\n")).collect();
        assert!(
            output == (expected + "last\n").into_bytes(),
            "{} bytes",
            output.len()
        );
        let (answered, output) = run(&mut line, form, "exit 9").await;
        assert_eq!(
            (answered.code, output.len()),
            (matches!(form, CommandForm::Json).then_some(9), 0)
        );
    }
}

#[tokio::test]
async fn a_command_that_says_too_much_is_stopped_and_the_line_goes_on() {
    let (mut line, events) = joined(CommandForm::Json, 100_000);
    let (answered, output) = run(&mut line, CommandForm::Json, "yes").await;
    assert_eq!(answered.code, Some(-9));
    let text = String::from_utf8(output).unwrap();
    let (said, remark) = text.split_at(100_000);
    assert!(
        said == "y\n".repeat(50_000) && remark.contains("more than 100000 bytes"),
        "{remark}"
    );
    let (answered, output) = run(&mut line, CommandForm::Json, "echo on").await;
    assert_eq!((answered.code, output.as_slice()), (Some(0), &b"on\n"[..]));
    assert!(matches!(
        &events.lock().unwrap()[1],
        ClassicEvent::Command { code: -9, .. }
    ));
}

/// Proves `classic-command` in docs/faults.md.
#[tokio::test]
async fn a_client_that_is_gone_ends_its_command() {
    let (mut line, events) = joined(CommandForm::Raw, 0);
    command::send(&mut line, Charset::default(), "echo begun; yes")
        .await
        .unwrap();
    let mut output = Vec::new();
    let begun =
        command::receive_raw(&mut line, Some(PATIENCE), Some(Duration::ZERO), &mut output).await;
    assert!(begun.unwrap() && output.starts_with(b"begun\n"));
    drop(line);
    let ended = async {
        while !events
            .lock()
            .unwrap()
            .iter()
            .any(|event| matches!(event, ClassicEvent::Failed { .. }))
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
}
