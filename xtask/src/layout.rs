//! `bin/`, `lib/` and `sdk/` in a folder that may be moved.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use crate::cargo::{self, Build, rustc};
use crate::{Result, Workspace, replaceable, sdk};

/// What a layout has.
const PARTS: [&str; 3] = ["bin", "lib", "sdk"];

/// Builds the program, and lays it out in a folder with its libraries and its SDK.
///
/// # Errors
/// When the folder has a part of this name that is of no earlier layout, cargo fails, or a file cannot be written.
pub fn layout(workspace: &Workspace, folder: &Path, build: Build) -> Result {
    check_replaceable(folder)?;
    let built = cargo::build(workspace, build)?;
    let (program, image) = (built.program.ok_or("no program was built")?, built.image.ok_or("no library was built")?);
    for part in PARTS {
        remove(&folder.join(part))?;
        fs::create_dir_all(folder.join(part))?;
    }
    let standard_library = standard_library()?;
    // First the SDK: by it a layout is known that was interrupted.
    sdk::write(&workspace.root, &folder.join("sdk"), &image, &standard_library, &built.metadata)?;
    sdk::write_stand_ins(&folder.join("sdk"), &built.native)?;
    copy(&program, &folder.join("bin"))?;
    for library in [&image, &standard_library] {
        copy(library, &folder.join("lib"))?;
    }
    Ok(())
}

/// Refuses a folder, such as `/usr/local` or that of the sources, in which a part of this name is somebody else's.
fn check_replaceable(folder: &Path) -> Result {
    let is_layout = folder.join("sdk").join(sdk::SUM).is_file();
    PARTS.iter().try_for_each(|part| replaceable::check(&folder.join(part), is_layout))
}

/// std as the library that the image is linked against.
fn standard_library() -> Result<PathBuf> {
    let folder = PathBuf::from(rustc(&["--print", "target-libdir"])?.trim());
    let library = fs::read_dir(&folder)?.filter_map(|entry| Some(entry.ok()?.path())).find(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("libstd-") && name.ends_with(env::consts::DLL_SUFFIX)
    });
    library.ok_or_else(|| format!("there is no shared std in {}", folder.display()).into())
}

/// Copies a file into a folder.
///
/// # Errors
/// When it cannot.
pub fn copy(file: &Path, folder: &Path) -> Result {
    let name = file.file_name().ok_or("a file has a name")?;
    fs::copy(file, folder.join(name)).map_err(|error| format!("cannot copy {}: {error}", file.display()))?;
    Ok(())
}

/// Removes a folder, if there is one.
///
/// # Errors
/// When it cannot be removed.
pub fn remove(folder: &Path) -> Result {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_removed_that_no_layout_made() -> Result {
        let folder = env::temp_dir().join(format!("zskt-layout-{}", std::process::id()));
        check_replaceable(&folder)?;
        fs::create_dir_all(folder.join("bin"))?;
        fs::create_dir_all(folder.join("sdk"))?;
        check_replaceable(&folder)?;
        fs::write(folder.join("bin/backup"), "years of work")?;
        let refused = check_replaceable(&folder).map_err(|error| error.to_string());
        fs::write(folder.join("sdk").join(sdk::SUM), "")?;
        let again = check_replaceable(&folder);
        fs::remove_dir_all(&folder)?;
        again?;
        let complaint = refused.unwrap_err();
        assert!(complaint.contains("bin would be removed, and no earlier call made it"), "{complaint}");
        // The sources have a folder `sdk`.
        assert!(check_replaceable(&Workspace::here()?.root).is_err());
        Ok(())
    }
}
