//! What the gateway gives up before it meets the first byte from a network: Landlock takes writing outside a few directories and
//! listening at other ports, seccomp takes the system calls that only an intruder would want. Commands that print a password inherit
//! both; so they may read and run whatever they need, but write only in those directories.

use std::path::Path;

use landlock::{
    ABI, AccessFs, AccessNet, CompatLevel, Compatible, NetPort, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus,
    path_beneath_rules,
};
use nix::libc;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use crate::service::Confinement;

/// The newest rules that are asked for; an older kernel enforces what it knows of them (5: Linux 6.10).
const LANDLOCK: ABI = ABI::V5;

/// What programs expect to be able to write to.
const DEVICES: &str = "/dev";

/// Besides: where a command that prints a password may keep its locks and sockets (`gpg` in the home directory, others in /tmp).
const FOR_COMMANDS: [&str; 2] = ["/tmp", "/var/tmp"];
const VARIABLES_FOR_COMMANDS: [&str; 2] = ["HOME", "XDG_RUNTIME_DIR"];

/// Confines this thread and all that come from it: to be called before there is another one. Says what holds, for the log. A kernel that
/// knows neither is no reason not to start.
pub fn confine(to: &Confinement) -> String {
    let files = match landlock(to) {
        Ok(RulesetStatus::FullyEnforced) => "landlock".to_owned(),
        Ok(RulesetStatus::PartiallyEnforced) => "landlock (as far as this kernel knows it)".to_owned(),
        Ok(RulesetStatus::NotEnforced) => "no landlock (this kernel has none)".to_owned(),
        Err(error) => format!("no landlock ({error})"),
    };
    match seccomp() {
        Ok(()) => format!("confined by {files} and seccomp"),
        Err(error) => format!("confined by {files}, no seccomp ({error})"),
    }
}

fn landlock(to: &Confinement) -> Result<RulesetStatus, RulesetError> {
    let writing = AccessFs::from_write(LANDLOCK);
    let mut rules = Ruleset::default().set_compatibility(CompatLevel::BestEffort).handle_access(writing)?;
    if to.ports.is_some() {
        rules = rules.handle_access(AccessNet::BindTcp)?;
    }
    let own = to.writable.iter().map(|path| path.as_path().to_owned()).chain([DEVICES.into()]);
    let mut writable: Vec<std::path::PathBuf> = own.collect();
    if to.commands {
        writable.extend(FOR_COMMANDS.map(Into::into));
        writable.extend(VARIABLES_FOR_COMMANDS.iter().filter_map(std::env::var_os).map(Into::into));
    }
    // An empty variable would name the directory that the program was started in.
    writable.retain(|path| path.as_path() != Path::new(""));
    let mut rules = rules.create()?.add_rules(path_beneath_rules(writable, writing))?;
    for port in to.ports.iter().flatten() {
        rules = rules.add_rule(NetPort::new(*port, AccessNet::BindTcp))?;
    }
    Ok(rules.restrict_self()?.ruleset)
}

/// Calls that administer the machine, or look into other processes; no secret command that reads a file or asks an agent needs them.
const REFUSED: &[libc::c_long] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_init_module,
    libc::SYS_io_uring_setup,
    libc::SYS_kexec_load,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
];

fn seccomp() -> Result<(), String> {
    let architecture = std::env::consts::ARCH.try_into().map_err(|_| format!("not known on {}", std::env::consts::ARCH))?;
    let rules = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, architecture).map_err(|error| error.to_string())?;
    let program: BpfProgram = filter.try_into().map_err(|error: seccompiler::BackendError| error.to_string())?;
    seccompiler::apply_filter(&program).map_err(|error| error.to_string())
}
