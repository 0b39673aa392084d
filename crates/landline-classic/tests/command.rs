#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a test"
)]
//! The server and the client of the command dialects, joined in memory.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use landline_classic::{
    ClassicEvent, ClassicSink, Connection, Dialect, Service,
    codec::{Charset, Encodings, HeaderKeys},
    command::{self, CommandForm, CommandOptions, CommandResult},
};
use tokio::io::DuplexStream;

const PATIENCE: Duration = Duration::from_secs(60);

/// A client, and the events that its server reports.
fn joined(
    form: CommandForm,
    output_bytes_max: u64,
) -> (Connection<DuplexStream>, Arc<Mutex<Vec<ClassicEvent>>>) {
    let options = CommandOptions {
        form,
        keys: HeaderKeys::of_command(),
        child_charset: None,
        bye: "zaijian".into(),
        time_max: PATIENCE,
        output_bytes_max,
        spool_folder: std::env::temp_dir(),
    };
    let service = Service {
        dialect: Dialect::Command(options),
        encodings: Encodings::default(),
        challenge: None,
        pause: Duration::from_millis(20),
        idle_time_max: PATIENCE,
        show: false,
    };
    let (client, server) = tokio::io::duplex(1000);
    let events = Arc::new(Mutex::new(Vec::new()));
    let recorded = events.clone();
    let sink: ClassicSink = Arc::new(move |event| recorded.lock().unwrap().push(event));
    tokio::spawn(async move {
        service
            .serve(server, "memory".into(), std::future::pending(), &sink)
            .await
    });
    (Connection::new(client, PATIENCE), events)
}

async fn run(
    connection: &mut Connection<DuplexStream>,
    form: CommandForm,
    text: &str,
) -> (CommandResult, Vec<u8>) {
    let mut output = Vec::new();
    command::send(connection, Charset::default(), text)
        .await
        .unwrap();
    let result = command::receive_answer(
        connection,
        Charset::default(),
        form,
        &HeaderKeys::of_command(),
        &mut output,
    )
    .await
    .unwrap()
    .unwrap();
    assert_eq!(result.bytes, output.len() as u64);
    (result, output)
}

#[tokio::test]
async fn output_larger_than_memory_arrives_in_order() {
    for form in [CommandForm::Sized, CommandForm::Json] {
        let (mut connection, _) = joined(form, 1 << 30);
        let (_, output) = run(&mut connection, form, "echo last >&2; seq 200000").await;
        let expected: String = (1..=200_000).map(|number| format!("{number}\n")).collect();
        assert!(
            output == (expected + "last\n").into_bytes(),
            "{} bytes",
            output.len()
        );
        let (result, output) = run(&mut connection, form, "exit 9").await;
        assert_eq!(
            (result.code, output.len()),
            (matches!(form, CommandForm::Json).then_some(9), 0)
        );
    }
}

#[tokio::test]
async fn command_with_too_much_output_is_stopped() {
    let (mut connection, events) = joined(CommandForm::Json, 100_000);
    let (result, output) = run(&mut connection, CommandForm::Json, "yes").await;
    assert_eq!(result.code, Some(-9));
    let text = String::from_utf8(output).unwrap();
    let (lines, notice) = text.split_at(100_000);
    assert!(
        lines == "y\n".repeat(50_000) && notice.contains("more than 100000 bytes"),
        "{notice}"
    );
    let (result, output) = run(&mut connection, CommandForm::Json, "echo on").await;
    assert_eq!((result.code, output.as_slice()), (Some(0), &b"on\n"[..]));
    assert!(matches!(
        &events.lock().unwrap()[1],
        ClassicEvent::Command { code: -9, .. }
    ));
}

/// Proves `classic-command` in docs/faults.md.
#[tokio::test]
async fn disconnected_client_ends_its_command() {
    let (mut connection, events) = joined(CommandForm::Raw, 0);
    command::send(&mut connection, Charset::default(), "echo begun; yes")
        .await
        .unwrap();
    let mut output = Vec::new();
    let is_open = command::receive_raw(
        &mut connection,
        Some(PATIENCE),
        Some(Duration::ZERO),
        &mut output,
    )
    .await;
    assert!(is_open.unwrap() && output.starts_with(b"begun\n"));
    drop(connection);
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
