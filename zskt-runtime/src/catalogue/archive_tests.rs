//! What packages from anyone may hold.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::collection::vec;
use proptest::prelude::*;
use tar::{Builder, EntryType, Header};

use super::archive::{MANIFEST, unpack, write};
use super::manifest::Manifest;
use crate::checksum;

const LIBRARY: &str = if cfg!(target_os = "macos") { "libnets.dylib" } else { "libnets.so" };

/// A manifest that lists these files as they are.
fn manifest(files: &[(&str, &[u8])]) -> serde_json::Value {
    let listed: BTreeMap<_, _> = files
        .iter()
        .map(|(path, bytes)| (*path, serde_json::json!({"bytes": bytes.len(), "sha256": checksum::of_bytes(bytes)})))
        .collect();
    serde_json::json!({
        "format": 1, "name": "nets", "version": "0.1.0", "license": "MIT", "release": "1.0.0", "image": "0".repeat(64),
        "target": "here", "plugins": [{"name": "nets::Net", "kind": "architecture"}], "library": LIBRARY, "files": listed,
    })
}

/// An entry of an archive: kind, path and content.
type Entry<'e> = (EntryType, &'e str, &'e [u8]);

/// A change to a manifest.
type Change<'c> = &'c dyn Fn(&mut serde_json::Value);

/// An archive of entries, whatever they are.
fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut archive = Builder::new(Vec::new());
    for (kind, path, bytes) in entries {
        let mut header = Header::new_ustar();
        header.set_entry_type(*kind);
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        // As no honest program would set it.
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        if *kind == EntryType::Symlink {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        archive.append(&header, *bytes).unwrap();
    }
    archive.into_inner().unwrap()
}

fn packed(tar: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(tar).unwrap();
    out.finish().unwrap()
}

/// Unpacks into a folder within another, in which nothing else may appear.
fn outcome(package: &[u8]) -> Result<Manifest, String> {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("inner");
    fs::create_dir(&folder).unwrap();
    let outcome = unpack(package, &folder, |_| Ok(())).map_err(|problem| problem.message);
    assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 1, "something left its package");
    for entry in fs::read_dir(&folder).unwrap() {
        assert!(!entry.unwrap().path().is_symlink());
    }
    outcome
}

#[test]
fn what_was_packed_is_unpacked_and_the_same_files_make_the_same_bytes() {
    let files: [(&str, &[u8]); 3] = [("LICENSE", b"MIT"), (LIBRARY, b"code"), ("plugins/nets.Net.json", b"{}")];
    let text = manifest(&files).to_string();
    let owned: Vec<_> = files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec())).collect();
    let packed = || {
        let mut package = Vec::new();
        write(&mut package, text.as_bytes(), &owned).unwrap();
        package
    };
    assert_eq!(packed(), packed());
    let folder = tempfile::tempdir().unwrap();
    let read = unpack(&packed()[..], folder.path(), |manifest| {
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is written before it is accepted");
        assert_eq!(manifest.summary.title(), "nets 0.1.0");
        Ok(())
    });
    assert_eq!(read.unwrap().library, LIBRARY);
    for (path, bytes) in files {
        assert_eq!(fs::read(folder.path().join(path)).unwrap(), bytes);
    }
}

#[test]
fn nothing_leaves_a_package_and_nothing_is_in_it_that_its_manifest_does_not_list() {
    let regular = EntryType::Regular;
    let code: Entry<'_> = (regular, LIBRARY, b"code");
    let sound = manifest(&[(LIBRARY, b"code")]).to_string();
    let with = |entries: &[Entry<'_>]| {
        let all = [&[(regular, MANIFEST, sound.as_bytes())], entries].concat();
        outcome(&packed(&archive(&all)))
    };
    assert!(with(&[code]).is_ok());
    let long_name = b"a".repeat(200);
    let cases: [(&[Entry<'_>], &str); 9] = [
        (&[], "is missing"),
        (&[code, (regular, "../inner.so", b"code")], "is not in its manifest"),
        (&[code, (regular, "/tmp/other.so", b"code")], "is not in its manifest"),
        (&[code, code], "is there twice"),
        (&[(EntryType::Symlink, LIBRARY, b"")], "is not a plain file"),
        (&[(EntryType::Directory, "plugins", b"")], "is not a plain file"),
        (&[(EntryType::GNULongName, "././@LongLink", &long_name), code], "is not a plain file"),
        (&[(regular, LIBRARY, b"other")], "has another length"),
        (&[(regular, LIBRARY, b"edoc")], "has another SHA-256 sum"),
    ];
    for (entries, expected) in cases {
        let refused = with(entries).expect_err(expected);
        assert!(refused.contains(expected), "{refused}");
    }
    let first = outcome(&packed(&archive(&[code, (regular, MANIFEST, sound.as_bytes())]))).unwrap_err();
    assert!(first.contains("does not begin with `manifest.json`"), "{first}");
    assert!(outcome(b"PK\x03\x04").unwrap_err().contains("no package"));
    assert!(outcome(b"").is_err());
}

#[test]
fn a_manifest_names_no_place_outside_and_no_size_beyond_reason() {
    let refused = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut changed = manifest(&[(LIBRARY, b"code")]);
        change(&mut changed);
        Manifest::read(changed.to_string().as_bytes()).map(|_| ()).map_err(|problem| problem.message)
    };
    assert_eq!(refused(&|_| ()), Ok(()));
    let file = serde_json::json!({"bytes": 1, "sha256": ""});
    let cases: [(Change<'_>, &str); 9] = [
        (&|it| it["name"] = "../nets".into(), "no package can be called"),
        (&|it| it["version"] = "../1".into(), "is not one of a package"),
        (&|it| it["files"]["../x"] = file.clone(), "no file of a package can be called"),
        (&|it| it["files"]["/x"] = file.clone(), "no file of a package can be called"),
        (&|it| it["files"]["Manifest.json"] = file.clone(), "no file of a package can be called"),
        (&|it| it["files"][LIBRARY.to_uppercase()] = file.clone(), "differ only in upper and lower case"),
        (&|it| it["files"]["x"] = serde_json::json!({"bytes": u64::MAX, "sha256": ""}), "have more than 512 MB"),
        (&|it| it["library"] = "LICENSE".into(), "is not a library among its files"),
        (&|it| it["format"] = 2.into(), "of form 2"),
    ];
    for (change, expected) in cases {
        let refused = refused(change).expect_err(expected);
        assert!(refused.contains(expected), "{refused}");
    }
}

#[test]
fn mutants_are_read_or_refused() {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(300);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let sound = manifest(&[(LIBRARY, b"code")]).to_string();
    let regular = EntryType::Regular;
    let sound = archive(&[(regular, MANIFEST, sound.as_bytes()), (regular, LIBRARY, b"code")]);
    let bytes = prop_oneof![any::<u8>(), Just(0), Just(b'/'), Just(b'.'), Just(b'7')];
    proptest!(config, |(changes in vec((0..sound.len(), bytes), 1..6), end in 0..2 * sound.len())| {
        let mut mutant = sound.clone();
        changes.iter().for_each(|(at, byte)| mutant[*at] = *byte);
        // What an entry's header says of itself: without it each change of one would be refused.
        for header in mutant.as_chunks_mut::<512>().0.iter_mut().filter(|block| block[257..262] == *b"ustar") {
            header[148..156].fill(b' ');
            let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
            header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        mutant.truncate(end);
        drop(outcome(&packed(&mutant)));
    });
}
