//! Opening the files of a dataset.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use crate::ReadError;

/// Opens a file, and says how many bytes it has. What is not a file is refused unopened: opening a pipe would wait for its
/// other end, and a device never ends. So is what lies in the file's place after a download that went wrong.
pub(crate) fn open(path: &Path) -> Result<(File, u64), ReadError> {
    let failed = |error: std::io::Error| ReadError::io(path, "cannot be opened", &error);
    let found = std::fs::metadata(path).map_err(failed)?;
    if !found.is_file() {
        let what = if found.is_dir() { "a folder" } else { "a device or a pipe" };
        return Err(ReadError::new(path, format!("it is {what}, not a file")));
    }
    let mut file = File::open(path).map_err(failed)?;
    let mut head = Vec::new();
    (&file).take(256).read_to_end(&mut head).and_then(|_| file.rewind()).map_err(failed)?;
    match stand_in(&head) {
        None => Ok((file, found.len())),
        Some((what, help)) => Err(ReadError::new(path, format!("it is {what}")).with_help(help)),
    }
}

/// What a file is that is there instead of another, and how to have that.
fn stand_in(head: &[u8]) -> Option<(&'static str, &'static str)> {
    let text = String::from_utf8_lossy(head);
    let text = text.trim_start_matches('\u{feff}').trim_start().to_lowercase();
    if head.starts_with(b"version https://git-lfs") {
        Some(("a Git LFS pointer instead of the file itself", "fetch the file with `git lfs pull`"))
    } else if text.starts_with("<!doctype html") || text.starts_with("<html") {
        Some(("a web page (HTML)", "download the file itself: the link led to a page about it, or to an error"))
    } else if text.starts_with("<?xml") {
        Some(("an XML document", "download the file itself: servers report errors like this"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::{ReadError, cifar, hugging_face, image_folder, mnist, svhn};

    /// Where people have a file that is not the one they meant, every format says so.
    #[test]
    fn pointers_and_web_pages_are_named_in_every_format() {
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n";
        let page = "\n<!DOCTYPE html><html><title>Sign in</title></html>".to_owned() + &" ".repeat(5000);
        for (text, what, help) in [
            (pointer, "it is a Git LFS pointer", "git lfs pull"),
            (&page, "it is a web page", "download the file itself"),
        ] {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let write = |name: &str| {
                let file = folder.path().join(name);
                std::fs::create_dir_all(file.parent().expect("a parent")).expect("a folder");
                std::fs::write(file, text).expect("a file");
            };
            let of_parts = [
                "test.parquet",
                "test_32x32.mat",
                "data/test_batch.bin",
                "t10k-images-idx3-ubyte",
                "t10k-labels-idx1-ubyte",
            ];
            of_parts.iter().for_each(|name| write(name));
            write("archive/cifar-10-binary.tar.gz");
            write("images/cat/1.png");
            let path = folder.path();
            type Check<'a> = Box<dyn Fn(&Path) -> Option<ReadError> + 'a>;
            let cifar: Check = Box::new(|path| cifar::read(path, cifar::Variant::Cifar10, cifar::Split::Test).err());
            let cases: [(&str, Check); 6] = [
                ("data", cifar),
                ("archive", Box::new(|path| cifar::header(path, cifar::Variant::Cifar10, cifar::Split::Test).err())),
                ("", Box::new(|path| hugging_face::header(path, &hugging_face::Selection::of("test")).err())),
                ("", Box::new(|path| svhn::header(path, svhn::Split::Test).err())),
                ("", Box::new(|path| mnist::header(path, mnist::Variant::Mnist, mnist::Split::Test).err())),
                (
                    "images",
                    Box::new(|path| {
                        image_folder::header(path, image_folder::Split::Test, None, crate::Resizing::default()).err()
                    }),
                ),
            ];
            for (place, check) in cases {
                let error = check(&path.join(place)).expect("no images").to_string();
                assert!(error.contains(what) && error.contains(help), "{place}: {error}");
            }
        }
    }
}
