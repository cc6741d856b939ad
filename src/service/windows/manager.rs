//! Registering the service with Windows' service manager, starting and stopping it.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use windows_service::service::{
    Service, ServiceAccess, ServiceAction, ServiceActionType, ServiceErrorControl, ServiceExitCode, ServiceFailureActions,
    ServiceFailureResetPeriod, ServiceInfo, ServiceStartType, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};

use super::super::{Registration, Standing};
use super::{NAME, events, in_words, rights};

/// What the list of services says.
const DESCRIPTION: &str =
    "Fetches the office's mail from its ISP mailboxes, keeps it for the mail programs on the LAN, and sends what they write.";

/// Where no service has an account of its own.
const SHARED_ACCOUNT: &str = r"NT AUTHORITY\LocalService";

/// After a crash: soon, then later. The last one repeats, so that a lasting fault is tried twelve times an hour.
const RESTARTS: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(300)];
/// Crashes that lie further apart than this are each the first one.
const FORGIVEN: Duration = Duration::from_secs(24 * 60 * 60);
/// At shutdown: the gateway's ten seconds, and a margin.
const SHUTDOWN: Duration = Duration::from_secs(15);
/// Longer than this a service is not silent while it starts or stops: it gives signs of life, and it promises to stop within ten seconds.
const SILENCE: Duration = Duration::from_secs(20);
/// How often is looked whether it is done.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Codes of Windows that mean something here.
mod code {
    pub const SERVICE_ALREADY_RUNNING: i32 = 1056;
    pub const INVALID_SERVICE_ACCOUNT: i32 = 1057;
    pub const SERVICE_DOES_NOT_EXIST: i32 = 1060;
    pub const SERVICE_NOT_ACTIVE: i32 = 1062;
    pub const MARKED_FOR_DELETE: i32 = 1072;
}

/// Registers the service, or brings one that is registered up to date, and gives its account the store. Says what it did.
pub fn install(registration: &Registration) -> Result<Vec<String>, String> {
    let manager = manager(ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE)?;
    let mut said = Vec::new();
    let own = rights::ACCOUNT;
    let (service, account) = match register(&manager, registration, own) {
        Ok(service) => (service, own),
        Err(error) if code_of(&error) == Some(code::INVALID_SERVICE_ACCOUNT) => {
            said.push(format!("this Windows gives services no account of their own: {SHARED_ACCOUNT} is used, as by other services"));
            (register(&manager, registration, SHARED_ACCOUNT).map_err(in_words)?, SHARED_ACCOUNT)
        }
        Err(error) if code_of(&error) == Some(code::MARKED_FOR_DELETE) => {
            return Err("the old service is still in use: close the list of services and the task manager, then try again".to_owned());
        }
        Err(error) => return Err(in_words(error)),
    };
    said.push(format!("the service {NAME} is registered: it starts with Windows and runs as {account}"));
    said.extend(describe(&service));
    rights::give(registration, account)?;
    said.push(format!("{} is open to {account} and administrators alone", registration.storage.display()));
    if let Err(error) = events::register() {
        said.push(format!("the event log does not know {NAME} ({error}): its entries will say so, and show the text all the same"));
    }
    Ok(said)
}

/// Stops the service and takes it out of the list. Files stay.
pub fn uninstall() -> Result<Vec<String>, String> {
    let service = open(ServiceAccess::QUERY_STATUS | ServiceAccess::STOP | ServiceAccess::DELETE)?;
    let mut said = Vec::new();
    if service.query_status().map_err(in_words)?.current_state != ServiceState::Stopped {
        said.extend(stop_and_wait(&service)?);
    }
    match service.delete() {
        Err(error) if code_of(&error) != Some(code::MARKED_FOR_DELETE) => return Err(in_words(error)),
        _ => said.push(format!("the service {NAME} is not registered any more; mail and files stay")),
    }
    events::forget();
    Ok(said)
}

/// Starts the service and waits until it serves.
pub fn start() -> Result<Vec<String>, String> {
    let service = open(ServiceAccess::QUERY_STATUS | ServiceAccess::START)?;
    match service.start::<&OsStr>(&[]) {
        Err(error) if code_of(&error) == Some(code::SERVICE_ALREADY_RUNNING) => {
            return Ok(vec![format!("the service {NAME} runs already")]);
        }
        result => result.map_err(in_words)?,
    }
    let status = wait(&service, |state| state != ServiceState::StartPending)?;
    match status.current_state {
        ServiceState::Running => Ok(vec![format!("the service {NAME} runs")]),
        ServiceState::StartPending => Err(format!("the service {NAME} did not start, and gives no sign of life; its log says why")),
        _ => Err(format!("the service {NAME} did not start{}; its log says why", ending(standing(&status)))),
    }
}

/// Tells the service to stop and waits until it has.
pub fn stop() -> Result<Vec<String>, String> {
    stop_and_wait(&open(ServiceAccess::QUERY_STATUS | ServiceAccess::STOP)?)
}

/// What the service manager says of it.
pub fn status() -> Result<Standing, String> {
    let service = manager(ServiceManagerAccess::CONNECT)?.open_service(NAME, ServiceAccess::QUERY_STATUS);
    match service {
        Ok(service) => Ok(standing(&service.query_status().map_err(in_words)?)),
        Err(error) if code_of(&error) == Some(code::SERVICE_DOES_NOT_EXIST) => Ok(Standing::Missing),
        Err(error) => Err(in_words(error)),
    }
}

fn manager(access: ServiceManagerAccess) -> Result<ServiceManager, String> {
    ServiceManager::local_computer(None::<&str>, access).map_err(in_words)
}

fn open(access: ServiceAccess) -> Result<Service, String> {
    manager(ServiceManagerAccess::CONNECT)?.open_service(NAME, access).map_err(|error| match code_of(&error) {
        Some(code::SERVICE_DOES_NOT_EXIST) => format!("there is no service {NAME}: `mailroom service install` makes it"),
        _ => in_words(error),
    })
}

fn register(manager: &ServiceManager, registration: &Registration, account: &str) -> windows_service::Result<Service> {
    let access = ServiceAccess::CHANGE_CONFIG | ServiceAccess::START | ServiceAccess::QUERY_STATUS;
    let info = ServiceInfo {
        name: NAME.into(),
        display_name: NAME.into(),
        service_type: ServiceType::OWN_PROCESS,
        start_type: ServiceStartType::AutoStart,
        error_control: ServiceErrorControl::Normal,
        executable_path: registration.program.clone(),
        launch_arguments: arguments(&registration.configuration),
        dependencies: Vec::new(),
        account_name: Some(account.into()),
        account_password: None,
    };
    match manager.open_service(NAME, access) {
        Ok(service) => service.change_config(&info).map(|()| service),
        Err(error) if code_of(&error) == Some(code::SERVICE_DOES_NOT_EXIST) => manager.create_service(&info, access),
        Err(error) => Err(error),
    }
}

fn arguments(configuration: &Path) -> Vec<OsString> {
    vec!["--config".into(), configuration.into(), "run".into(), "--last-good".into(), "--service".into()]
}

/// What makes it a good citizen, but is no reason not to run: what can't be set is said.
fn describe(service: &Service) -> Vec<String> {
    let restart = |delay| ServiceAction { action_type: ServiceActionType::Restart, delay };
    let actions = ServiceFailureActions {
        reset_period: ServiceFailureResetPeriod::After(FORGIVEN),
        reboot_msg: None,
        command: None,
        actions: Some(RESTARTS.map(restart).into()),
    };
    let attempts = [
        ("a description", service.set_description(DESCRIPTION)),
        ("a restart after a crash", service.update_failure_actions(actions)),
        // An end that is reported is meant; see `control`.
        ("no restart after an end that it reports", service.set_failure_actions_on_non_crash_failures(false)),
        ("a start after the busiest part of Windows' own", service.set_delayed_auto_start(true)),
        ("time for a clean stop at shutdown", service.set_preshutdown_timeout(SHUTDOWN)),
    ];
    let refused = attempts.into_iter().filter_map(|(what, result)| Some((what, result.err()?)));
    refused.map(|(what, error)| format!("Windows refuses {what}: {}", in_words(error))).collect()
}

fn stop_and_wait(service: &Service) -> Result<Vec<String>, String> {
    match service.stop() {
        Err(error) if code_of(&error) == Some(code::SERVICE_NOT_ACTIVE) => return Ok(vec![format!("the service {NAME} does not run")]),
        result => result.map_err(in_words)?,
    };
    match wait(service, |state| state == ServiceState::Stopped)?.current_state {
        ServiceState::Stopped => Ok(vec![format!("the service {NAME} has stopped")]),
        _ => Err(format!("the service {NAME} has not stopped within {} seconds", SILENCE.as_secs())),
    }
}

/// Waits until it is done, or silent for too long.
fn wait(service: &Service, done: impl Fn(ServiceState) -> bool) -> Result<ServiceStatus, String> {
    let mut heard = (Instant::now(), 0);
    loop {
        let status = service.query_status().map_err(in_words)?;
        if status.checkpoint != heard.1 {
            heard = (Instant::now(), status.checkpoint);
        }
        if done(status.current_state) || heard.0.elapsed() > SILENCE {
            return Ok(status);
        }
        sleep(LOOK_AGAIN);
    }
}

fn standing(status: &ServiceStatus) -> Standing {
    match status.current_state {
        ServiceState::Stopped => Standing::Stopped(match status.exit_code {
            ServiceExitCode::Win32(0) | ServiceExitCode::ServiceSpecific(0) => None,
            ServiceExitCode::Win32(code) | ServiceExitCode::ServiceSpecific(code) => Some(code),
        }),
        ServiceState::StartPending => Standing::Starting,
        ServiceState::StopPending => Standing::Stopping,
        _ => Standing::Running,
    }
}

fn ending(standing: Standing) -> String {
    match standing {
        Standing::Stopped(Some(code)) => format!(" (it ended with code {code})"),
        _ => String::new(),
    }
}

fn code_of(error: &windows_service::Error) -> Option<i32> {
    match error {
        windows_service::Error::Winapi(error) => error.raw_os_error(),
        _ => None,
    }
}
