use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use super::*;

/// What a server does with a request.
#[derive(Clone, Copy)]
enum Answer {
    /// It sends what was asked for, up to so many bytes, and closes.
    UpTo(usize),
    /// It sends so many bytes, and then nothing, without an end.
    Stalls(usize),
    /// It sends all, whatever part was asked for.
    Whole,
    /// It sends another file of the same length.
    Other,
    /// It has a page to show instead.
    Page,
    Missing,
}

fn contents() -> Vec<u8> {
    (0..200_000_u32).map(|index| (index % 251) as u8).collect()
}

/// A server on this machine that answers so many requests, and tells the range of each.
fn serve(answers: Vec<Answer>) -> (RemoteFile, Receiver<Option<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let base = format!("http://{}/", listener.local_addr().expect("an address"));
    let (asked, ranges) = channel();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().expect("a request");
            let lines = BufReader::new(stream.try_clone().expect("a stream")).lines().map_while(io::Result::ok);
            let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
            assert_eq!(head[0], "GET /set.bin HTTP/1.1");
            let range = head.iter().find_map(|line| line.to_lowercase().strip_prefix("range: ").map(str::to_owned));
            let start = range.as_ref().and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
            asked.send(range).expect("the test waits");
            let all = contents();
            let (status, body, sent) = match answer {
                Answer::UpTo(most) | Answer::Stalls(most) => {
                    let rest = all[start.unwrap_or(0)..].to_vec();
                    let sent = most.min(rest.len());
                    (if start.is_some() { "206 Partial Content" } else { "200 OK" }, rest, sent)
                }
                Answer::Whole => ("200 OK", all.clone(), all.len()),
                Answer::Other => ("200 OK", vec![7; all.len()], all.len()),
                Answer::Page => ("200 OK", b"<html>".to_vec(), 6),
                Answer::Missing => ("404 Not Found", Vec::new(), 0),
            };
            let place = match start.filter(|_| status.starts_with("206")) {
                Some(start) => format!("Content-Range: bytes {start}-{}/{}\r\n", all.len() - 1, all.len()),
                None => String::new(),
            };
            let head =
                format!("HTTP/1.1 {status}\r\n{place}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            // Who has enough hangs up.
            drop(stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body[..sent])));
            if matches!(answer, Answer::Stalls(_)) {
                open.push(stream);
            }
        }
    });
    let sha256 = Sha256::digest(contents()).iter().map(|byte| format!("{byte:02x}")).collect();
    (RemoteFile { name: "set.bin", base, bytes: contents().len() as u64, sha256 }, ranges)
}

#[test]
fn a_download_goes_on_where_it_stopped_within_a_run_and_in_the_next() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (target, partial) = (folder.path().join("new/set.bin"), folder.path().join("new/set.bin.partial"));
    let (file, ranges) =
        serve(vec![Answer::UpTo(70_000), Answer::UpTo(50_000), Answer::Missing, Answer::UpTo(usize::MAX)]);
    let error = fetch(std::slice::from_ref(&file), &folder.path().join("new"))
        .expect_err("a server that breaks off")
        .to_string();
    assert!(
        error.contains("/set.bin: it answered 404 Not Found; run it again, and it goes on where it stopped"),
        "{error}"
    );
    assert!(error.contains(&format!("put it at {}", target.display())) && error.contains(&file.sha256), "{error}");
    assert!(!target.exists());
    let kept = fs::metadata(&partial).expect("what came").len();
    assert_eq!(kept, 120_000);
    fetch(std::slice::from_ref(&file), &folder.path().join("new")).expect("a download");
    assert_eq!(fs::read(&target).expect("a file"), contents());
    assert!(!partial.exists());
    let asked: Vec<_> = ranges.iter().collect();
    assert_eq!(asked, [None, Some("bytes=70000-".into()), Some("bytes=120000-".into()), Some("bytes=120000-".into())]);
    // It is there: nobody is asked, and the server is gone.
    fetch(std::slice::from_ref(&file), &folder.path().join("new")).expect("a file that is there");
}

#[test]
fn a_server_that_stalls_is_asked_for_the_rest() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (file, ranges) = serve(vec![Answer::Stalls(100_000), Answer::UpTo(usize::MAX)]);
    fetch_within(Duration::from_millis(500), &[file], folder.path()).expect("a download");
    assert_eq!(fs::read(folder.path().join("set.bin")).expect("a file"), contents());
    assert_eq!(ranges.iter().collect::<Vec<_>>(), [None, Some("bytes=100000-".into())]);
}

#[test]
fn a_server_that_knows_no_ranges_begins_anew() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("set.bin.partial"), [9; 1000]).expect("a file");
    let (file, ranges) = serve(vec![Answer::Whole]);
    fetch(&[file], folder.path()).expect("a download");
    assert_eq!(fs::read(folder.path().join("set.bin")).expect("a file"), contents());
    assert_eq!(ranges.recv().expect("a request").as_deref(), Some("bytes=1000-"));
}

#[test]
fn what_is_not_the_known_file_is_not_kept() {
    for (answers, expected) in [
        (vec![Answer::Other], "gave another file than the one that is known: its SHA-256 sum is "),
        (vec![Answer::Page], "it offers 6 bytes, expected 200000"),
        (vec![Answer::Missing], "it answered 404 Not Found. Without a network here, get it elsewhere"),
        (vec![], "cannot download http://127.0.0.1:"),
    ] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let error = fetch(&[serve(answers).0], folder.path()).expect_err("another file").to_string();
        assert!(error.contains(expected), "{error}\nexpected {expected}");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0, "{error}");
    }
    // What another download left behind is found out by the sum, and the next one begins anew.
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("set.bin.partial"), [9; 1000]).expect("a file");
    let (file, _ranges) = serve(vec![Answer::UpTo(usize::MAX), Answer::Whole]);
    assert!(fetch(std::slice::from_ref(&file), folder.path()).is_err());
    fetch(&[file], folder.path()).expect("a download");
}

#[test]
fn two_processes_do_not_write_to_one_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let partial = File::create(folder.path().join("set.bin.partial")).expect("a file");
    partial.lock().expect("a lock");
    let (file, _) = serve(Vec::new());
    let error = fetch(&[file], folder.path()).expect_err("in use").to_string();
    assert!(error.contains("is being downloaded by another process"), "{error}");
}
