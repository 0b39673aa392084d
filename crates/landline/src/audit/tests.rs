use super::*;

fn logout() -> Activity {
    Activity::Logout {
        user: "alice".parse().unwrap(),
        session: "1".into(),
    }
}

/// Activities that find the queue full are counted, and a caller that has to have an answer gets
/// one.
#[test]
fn overflow_of_the_queue_is_counted() {
    let scratch = crate::paths::TempDir::create(&std::env::temp_dir()).unwrap();
    let folder = scratch.create_folder("state").unwrap();
    let server = PrivateFolder::open_or_create(&folder).unwrap();
    let server = server.subfolder("server").unwrap();
    let options = AuditOptions::default();
    let (log, _) = Log::open(&server, &options).unwrap();
    let (requests, received) = mpsc::sync_channel(QUEUE);
    let (publisher, _) = broadcast::channel(1);
    let audit = Audit {
        requests,
        overflow: Arc::default(),
        published: publisher.downgrade(),
    };
    let noted = 3 * QUEUE as u64;
    for _ in 0..noted {
        audit.note(logout(), Priority::Limited);
    }
    // No thread writes yet.
    let refused = audit.record_blocking(logout(), Priority::Limited);
    assert!(matches!(
        refused,
        Err(Error::Failed {
            code: ErrorCode::Audit,
            ..
        })
    ));
    let overflow = audit.overflow.clone();
    let writing = std::thread::spawn(move || {
        writer::run(
            log,
            &received,
            &overflow,
            publisher,
            options.user_day_bytes_max,
        );
    });
    audit.flush().unwrap();
    drop(audit);
    writing.join().unwrap();
    let (mut lines, mut counted) = (0, 0);
    let reader = Reader::open(&folder).unwrap().unwrap();
    let unreadable = reader.lines(|line, _| {
        match &line.event[..] {
            "logout" => lines += 1,
            "suppressed" => counted += line.fields["count"].as_u64().unwrap(),
            _ => {}
        }
        Ok(())
    });
    assert_eq!(unreadable.unwrap(), 0);
    assert_eq!((lines, counted), (QUEUE as u64, noted - QUEUE as u64));
}

/// A command does not know how large the server lets the log grow.
#[test]
fn command_removes_no_lines() {
    let scratch = crate::paths::TempDir::create(&std::env::temp_dir()).unwrap();
    let folder = scratch.create_folder("state").unwrap();
    let server = PrivateFolder::open_or_create(&folder).unwrap();
    let options = AuditOptions {
        file_bytes_max: 100,
        ..AuditOptions::default()
    };
    let (audit, _) = Audit::open(&server, &options).unwrap();
    for _ in 0..4 {
        audit.record_blocking(logout(), Priority::Exempt).unwrap();
    }
    audit.flush().unwrap();
    drop(audit);
    let lines = server.subfolder(reader::FOLDER).unwrap();
    // Larger than any default, and without taking space on the disk.
    let oldest = lines.open_own(&reader::file_name(1)).unwrap().unwrap();
    oldest.set_len(2 << 30).unwrap();
    let audit = Audit::open_intact(&server).unwrap();
    audit.record_blocking(logout(), Priority::Exempt).unwrap();
    audit.flush().unwrap();
    assert!(lines.names().unwrap().contains(&reader::file_name(1)));
}
