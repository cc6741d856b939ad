//! The service as systemd knows it: a unit that is made from the one that the packages bring, an account of its own, and what
//! `systemctl` says.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::{Uid, User};

use crate::service::{Registration, Standing};

const UNIT: &str = "mailroom.service";
/// What the packages install; every line that depends on the machine is replaced.
const SHIPPED: &str = include_str!("../../../packaging/linux/mailroom.service");
/// Where an administrator's units lie: they come before those of packages.
const OWN: &str = "/etc/systemd/system/mailroom.service";
/// Where packages put theirs; both are one directory on systems of today.
const OF_A_PACKAGE: [&str; 2] = ["/usr/lib/systemd/system/mailroom.service", "/lib/systemd/system/mailroom.service"];
/// The account that is made if the store does not belong to somebody already.
const ACCOUNT: &str = "mailroom";
/// systemd runs as the first process.
const BOOTED: &str = "/run/systemd/system";
/// What the unit hides from the service.
const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];

/// Makes account, store and unit, and lets the system start it from now on.
pub fn install(registration: &Registration) -> Result<Vec<String>, String> {
    require("install the service")?;
    let mut said = Vec::new();
    if let Some(unit) = packaged(registration) {
        said.push(format!("{unit} comes with the package"));
    } else {
        if let Some(below) = TEMPORARY.iter().chain(&HOMES).find(|place| registration.program.starts_with(place)) {
            return Err(format!(
                "{program} lies in {below}, where a service can't be sure of it: `install -m 755 {program} /usr/local/bin/mailroom`, then run \
                 `/usr/local/bin/mailroom service install`",
                program = registration.program.display(),
            ));
        }
        let account = account(registration, &mut said)?;
        fs::write(OWN, unit(registration, &account)?).map_err(|error| format!("{OWN} can't be written: {error}"))?;
        said.push(format!("{OWN}: runs as the user {account}"));
    }
    if Path::new(BOOTED).exists() {
        systemctl(&["daemon-reload"])?;
    }
    systemctl(&["enable", "--quiet", UNIT])?;
    said.push("it starts with the system; `mailroom service start` starts it now".to_owned());
    Ok(said)
}

/// Stops it and takes the unit away; account, store and files stay.
pub fn uninstall() -> Result<Vec<String>, String> {
    require("remove the service")?;
    let installed = Path::new(OWN).exists();
    if !installed && !OF_A_PACKAGE.iter().any(|unit| Path::new(unit).exists()) {
        return Err("there is no service".to_owned());
    }
    let booted = Path::new(BOOTED).exists();
    if booted {
        systemctl(&["stop", UNIT])?;
    }
    systemctl(&["disable", "--quiet", UNIT])?;
    if !installed {
        return Ok(vec!["it does not start with the system any more; the unit goes with the package".to_owned()]);
    }
    fs::remove_file(OWN).map_err(|error| format!("{OWN} can't be removed: {error}"))?;
    if booted {
        systemctl(&["daemon-reload"])?;
    }
    Ok(vec![format!("{OWN} is gone; mail, configuration and the account stay")])
}

/// Starts it; systemd waits until it says that it serves.
pub fn start() -> Result<Vec<String>, String> {
    require("start the service")?;
    systemctl(&["start", UNIT]).map_err(|said| format!("{said}\n{}", last_words()))?;
    Ok(vec!["it serves".to_owned()])
}

/// Stops it; systemd waits until it has ended.
pub fn stop() -> Result<Vec<String>, String> {
    require("stop the service")?;
    systemctl(&["stop", UNIT])?;
    Ok(vec!["it has ended".to_owned()])
}

/// What systemd says of it.
pub fn status() -> Result<Standing, String> {
    standing(&systemctl(&["show", "--property=LoadState,ActiveState,ExecMainStatus", UNIT])?)
}

fn standing(shown: &str) -> Result<Standing, String> {
    let value = |key: &str| shown.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default();
    Ok(match (value("LoadState"), value("ActiveState")) {
        ("not-found", _) => Standing::Missing,
        (_, "active" | "reloading") => Standing::Running,
        (_, "activating") => Standing::Starting,
        (_, "deactivating") => Standing::Stopping,
        (_, "inactive" | "failed") => Standing::Stopped(value("ExecMainStatus").parse().ok().filter(|code| *code != 0)),
        (_, other) => return Err(format!("systemd says something that is not understood here: {other}")),
    })
}

/// systemd has to be there, and only root may change its services.
fn require(what: &str) -> Result<(), String> {
    if !Uid::effective().is_root() {
        return Err(format!("only root may {what}: `sudo mailroom service …`"));
    }
    match Command::new("systemctl").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(_) => Ok(()),
        Err(_) => Err("this system has no systemd; let whatever it starts services with run `mailroom run --last-good`".to_owned()),
    }
}

fn systemctl(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("systemctl").args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("systemctl does not start ({error}): is this a system with systemd?"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("systemctl {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// The end of its log, for one who sees that it did not start.
fn last_words() -> String {
    let said = Command::new("journalctl").args(["--unit", UNIT, "--lines=5", "--output=cat", "--no-pager"]).output();
    said.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// The unit of a package that runs this very program with these files.
fn packaged(registration: &Registration) -> Option<&'static str> {
    let text = |unit: &&&str| fs::read_to_string(unit).is_ok_and(|text| text.lines().any(|line| line == exec_start(registration)));
    OF_A_PACKAGE.iter().find(text).copied()
}

/// Who runs it: the owner of the store, or an account of its own, which then owns the store and may read the files.
fn account(registration: &Registration, said: &mut Vec<String>) -> Result<String, String> {
    let storage = &registration.storage;
    let failed = |what: &str, path: &Path, error: std::io::Error| format!("{}: {what}: {error}", path.display());
    let owner = storage.metadata().ok().map(|about| about.uid()).filter(|owner| *owner != 0);
    let account = match owner.and_then(|owner| User::from_uid(Uid::from_raw(owner)).ok().flatten()) {
        Some(user) => user.name,
        None => ACCOUNT.to_owned(),
    };
    if User::from_name(&account).ok().flatten().is_none() {
        let home = storage.to_string_lossy();
        let shell = "/usr/sbin/nologin";
        run("useradd", &["--system", "--user-group", "--no-create-home", "--home-dir", &home, "--shell", shell, &account])?;
        said.push(format!("made the user {account}"));
    }
    if owner.is_none() {
        super::private_directory(storage).map_err(|error| failed("can't be made", storage, error))?;
        run("chown", &["--recursive", &format!("{account}:"), &storage.to_string_lossy()])?;
        said.push(format!("{} belongs to {account}", storage.display()));
    }
    let mappings = registration.configuration.with_file_name("mappings");
    if mappings.is_dir() && mappings.metadata().is_ok_and(|about| about.uid() == 0) {
        run("chown", &["--recursive", &format!("{account}:"), &mappings.to_string_lossy()])?;
    }
    // Not every account's group has its name.
    let group = User::from_name(&account).ok().flatten().map(|user| user.gid.as_raw());
    let group = group.ok_or_else(|| format!("there is no user {account}, although it was made"))?;
    let folder = registration.configuration.parent();
    for path in registration.beside.iter().map(|path| path.as_path()).chain([registration.configuration.as_path()]).chain(folder) {
        let Ok(about) = path.metadata() else { continue };
        // Root's own files stay root's: the service may read them, and nobody else may.
        if about.uid() == 0 && about.mode() & 0o004 == 0 {
            chown(path, None, Some(group)).map_err(|error| failed("its group can't be changed", path, error))?;
            let more = if about.is_dir() { 0o050 } else { 0o040 };
            let readable = fs::Permissions::from_mode(about.mode() & 0o7777 | more);
            fs::set_permissions(path, readable).map_err(|error| failed("its mode can't be changed", path, error))?;
        }
    }
    Ok(account)
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{program} does not start: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// The shipped unit for this machine.
fn unit(registration: &Registration, account: &str) -> Result<String, String> {
    let storage = &registration.storage;
    let mappings = registration.configuration.with_file_name("mappings");
    let backup = registration.backup.as_ref();
    for path in [&registration.program, &registration.configuration, storage].into_iter().chain(backup) {
        if path.to_string_lossy().contains(|c: char| c.is_control() || "\"\\".contains(c)) {
            return Err(format!("{}: a unit can't hold such a path; choose one without quotes and backslashes", path.display()));
        }
    }
    let usual_storage = storage.as_path() == super::system_store();
    let in_homes = |path: &Path| HOMES.iter().any(|home| path.starts_with(home));
    let mut text = String::from(
        "# Made by `mailroom service install`; its next call makes it anew. Put your own lines into `systemctl edit mailroom`.\n",
    );
    for line in SHIPPED.lines() {
        let own = match line.split_once('=').map_or(line, |(key, _)| key) {
            "ExecStart" => exec_start(registration),
            "User" => format!("User={account}"),
            "Group" => "# its group is the account's own".to_owned(),
            "StateDirectory" | "StateDirectoryMode" if !usual_storage => continue,
            "ReadWritePaths" => {
                // With a dash, what is not there is no reason not to start.
                let mut paths = vec![word(&format!("-{}", mappings.display()))];
                if !usual_storage {
                    paths.push(word(&storage.to_string_lossy()));
                }
                paths.extend(backup.map(|backup| word(&format!("-{}", backup.display()))));
                format!("ReadWritePaths={}", paths.join(" "))
            }
            "ProtectHome" if in_homes(storage) || in_homes(&registration.configuration) => "ProtectHome=no".to_owned(),
            _ => line.to_owned(),
        };
        text.push_str(&own);
        text.push('\n');
    }
    Ok(text)
}

fn exec_start(registration: &Registration) -> String {
    let [program, file] = [&registration.program, &registration.configuration].map(|path| word(&path.to_string_lossy()));
    format!("ExecStart={program} --config {file} run --last-good")
}

/// One word of a unit's line: `%` means something there, and a blank ends it.
fn word(text: &str) -> String {
    let text = text.replace('%', "%%");
    if text.contains(' ') { format!("\"{text}\"") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration(configuration: &str, storage: &str) -> Registration {
        Registration {
            program: "/usr/local/bin/mailroom".into(),
            configuration: configuration.into(),
            storage: storage.into(),
            beside: Vec::new(),
            backup: None,
        }
    }

    #[test]
    fn a_unit_lets_backups_be_written() {
        let with_backup =
            Registration { backup: Some("/mnt/the nas".into()), ..registration("/etc/mailroom/mailroom.toml", "/var/lib/mailroom") };
        let text = unit(&with_backup, "anna").unwrap();
        assert!(text.lines().any(|line| line == "ReadWritePaths=-/etc/mailroom/mappings \"-/mnt/the nas\""), "{text}");
    }

    #[test]
    fn the_shipped_unit_fits_the_shipped_program() {
        let shipped =
            Registration { program: "/usr/bin/mailroom".into(), ..registration("/etc/mailroom/mailroom.toml", "/var/lib/mailroom") };
        assert!(SHIPPED.lines().any(|line| line == exec_start(&shipped)));
    }

    #[test]
    fn a_unit_names_the_paths_of_this_machine() {
        let check = |configuration: &str, storage: &str, expected: &[&str], missing: &[&str]| {
            let text = unit(&registration(configuration, storage), "anna").unwrap();
            for line in expected {
                assert!(text.lines().any(|found| found == *line), "{line} is missing in:\n{text}");
            }
            for word in missing {
                assert!(!text.lines().any(|line| line.starts_with(word)), "{word} in:\n{text}");
            }
        };
        check(
            "/etc/mailroom/mailroom.toml",
            "/var/lib/mailroom",
            &[
                "ExecStart=/usr/local/bin/mailroom --config /etc/mailroom/mailroom.toml run --last-good",
                "User=anna",
                "StateDirectory=mailroom",
                "ReadWritePaths=-/etc/mailroom/mappings",
                "ProtectHome=yes",
                "RestartPreventExitStatus=2",
            ],
            &["Group="],
        );
        check(
            "/srv/our office/100%/mailroom.toml",
            "/srv/our office/store",
            &[
                "ExecStart=/usr/local/bin/mailroom --config \"/srv/our office/100%%/mailroom.toml\" run --last-good",
                "ReadWritePaths=\"-/srv/our office/100%%/mappings\" \"/srv/our office/store\"",
            ],
            &["StateDirectory"],
        );
        check("/home/anna/mailroom.toml", "/home/anna/store", &["ProtectHome=no"], &[]);
        assert!(unit(&registration("/srv/a\nb/mailroom.toml", "/srv/store"), "anna").is_err());
    }

    #[test]
    fn what_systemd_shows_is_understood() {
        let check = |load: &str, active: &str, code: &str, expected: Standing| {
            assert_eq!(standing(&format!("ExecMainStatus={code}\nLoadState={load}\nActiveState={active}\n")).unwrap(), expected);
        };
        check("not-found", "inactive", "0", Standing::Missing);
        check("loaded", "active", "0", Standing::Running);
        check("loaded", "activating", "1", Standing::Starting);
        check("loaded", "failed", "2", Standing::Stopped(Some(2)));
        check("loaded", "inactive", "0", Standing::Stopped(None));
    }
}
