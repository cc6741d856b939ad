//! What the service manager and the service say to each other while it runs.
//!
//! The manager starts the program like any other and waits for it to report. Three endings are told apart, since only the last one makes
//! it start the service again: told to stop, or the files are to blame (reported as stopped, with exit code 2); and everything else,
//! which ends without a report, like a crash.

use std::ffi::OsString;
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::time::Duration;

use tokio::sync::watch;
use windows_service::service::{ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType};
use windows_service::service_control_handler::{self, ServiceControlHandlerResult, ServiceStatusHandle};
use windows_service::{define_windows_service, service_dispatcher};

use super::NAME;

/// The manager calls back at once, unless nobody of that kind started this process.
const CALLED_BACK: Duration = Duration::from_secs(30);
/// While the service starts it is asked for a sign of life this often; migrating a large store may take many of them.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);
/// How long the manager waits for the next sign before it calls the service hung.
const PATIENCE: Duration = Duration::from_secs(30);
/// The gateway promises to stop within ten seconds.
const STOPPING: Duration = Duration::from_secs(12);
/// What `run` ends with when the files are to blame: starting it again would not help.
const CONFIGURATION: u8 = 2;

/// The connection to the manager, once there is one.
static LINK: OnceLock<Link> = OnceLock::new();
/// Who waits for [`LINK`].
static CALLER: Mutex<Option<mpsc::Sender<Result<(), String>>>> = Mutex::new(None);

struct Link {
    handle: ServiceStatusHandle,
    stop: watch::Receiver<bool>,
    /// Taken for each report, so that a late "starting" can't follow "running".
    state: Mutex<ServiceState>,
}

define_windows_service!(entry, serve);

/// Reports to the service manager that started this process. An error if it was not one.
pub fn connect() -> Result<(), String> {
    let (send, receive) = mpsc::channel();
    *CALLER.lock().unwrap_or_else(PoisonError::into_inner) = Some(send.clone());
    std::thread::spawn(move || {
        if let Err(error) = service_dispatcher::start(NAME, entry) {
            let _ = send.send(Err(super::in_words(error)));
        }
    });
    match receive.recv_timeout(CALLED_BACK) {
        Ok(result) => result.map_err(|error| format!("--service is for the service manager, and this was not started by it: {error}")),
        Err(_) => Err("the service manager that should have started this does not answer".to_owned()),
    }
}

/// Whether the service manager started this process.
pub fn connected() -> bool {
    LINK.get().is_some()
}

/// Tells the manager that the gateway serves.
pub fn running() {
    report(ServiceState::Running);
}

/// Tells the manager that the gateway stops.
pub fn stopping() {
    report(ServiceState::StopPending);
}

/// Tells the manager how the process is about to end. See the head of this file for what it is not told.
pub fn ended(code: u8) {
    let Some(link) = LINK.get() else { return };
    let told = *link.stop.borrow();
    if told || code == 0 || code == CONFIGURATION {
        let exit = if code == 0 { ServiceExitCode::Win32(0) } else { ServiceExitCode::ServiceSpecific(code.into()) };
        link.send(ServiceState::Stopped, exit, 0);
    }
}

/// Returns when the manager says stop; never without one.
pub async fn told_to_stop() {
    match LINK.get() {
        Some(link) => {
            // The sender lives as long as the process.
            let _ = link.stop.clone().wait_for(|stop| *stop).await;
        }
        None => std::future::pending().await,
    }
}

fn report(state: ServiceState) {
    if let Some(link) = LINK.get() {
        link.send(state, ServiceExitCode::Win32(0), 0);
    }
}

/// What the manager calls, on a thread of its own.
fn serve(_: Vec<OsString>) {
    let caller = CALLER.lock().unwrap_or_else(PoisonError::into_inner).take();
    let result = register();
    let registered = result.is_ok();
    if let Some(caller) = caller {
        let _ = caller.send(result);
    }
    if !registered {
        return;
    }
    for checkpoint in 2.. {
        std::thread::sleep(SIGN_OF_LIFE);
        let Some(link) = LINK.get() else { return };
        if *link.state.lock().unwrap_or_else(PoisonError::into_inner) != ServiceState::StartPending {
            return;
        }
        link.send(ServiceState::StartPending, ServiceExitCode::Win32(0), checkpoint);
    }
}

fn register() -> Result<(), String> {
    let (send, stop) = watch::channel(false);
    let on_control = move |control| match control {
        ServiceControl::Stop | ServiceControl::Preshutdown => {
            stopping();
            send.send_replace(true);
            ServiceControlHandlerResult::NoError
        }
        ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
        _ => ServiceControlHandlerResult::NotImplemented,
    };
    let handle = service_control_handler::register(NAME, on_control).map_err(super::in_words)?;
    let link = LINK.get_or_init(|| Link { handle, stop, state: Mutex::new(ServiceState::StartPending) });
    link.send(ServiceState::StartPending, ServiceExitCode::Win32(0), 1);
    Ok(())
}

impl Link {
    fn send(&self, next: ServiceState, exit_code: ServiceExitCode, checkpoint: u32) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if rank(next) < rank(*state) {
            return;
        }
        *state = next;
        let pending = matches!(next, ServiceState::StartPending | ServiceState::StopPending);
        let status = ServiceStatus {
            service_type: ServiceType::OWN_PROCESS,
            current_state: next,
            controls_accepted: match next {
                ServiceState::Stopped => ServiceControlAccept::empty(),
                _ => ServiceControlAccept::STOP | ServiceControlAccept::PRESHUTDOWN,
            },
            exit_code,
            checkpoint: if pending { checkpoint.max(1) } else { 0 },
            wait_hint: match next {
                ServiceState::StartPending => PATIENCE,
                ServiceState::StopPending => STOPPING,
                _ => Duration::ZERO,
            },
            process_id: None,
        };
        if let Err(error) = self.handle.set_service_status(status) {
            tracing::warn!(error = super::in_words(error), "the service manager was not told");
        }
    }
}

/// A service goes through its states in this order, once.
fn rank(state: ServiceState) -> u8 {
    match state {
        ServiceState::StartPending => 0,
        ServiceState::StopPending => 2,
        ServiceState::Stopped => 3,
        _ => 1,
    }
}
