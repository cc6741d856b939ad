//! `mailroom run`: the gateway in the foreground.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;

use clap::Args;

use super::{Exit, Global, config_file, log};
use crate::config::{Auth, Config, Level, Log, SecretSource, SmarthostLogin};
use crate::gateway::{Gateway, LoadError, Options, StartError, files};
use crate::serve::listener::Service;
use crate::service::{Confinement, Told, platform};

/// `run [--last-good]`
#[derive(Debug, Args)]
pub struct Arguments {
    /// Start with the last configuration that loaded, if the files are broken
    #[arg(long)]
    last_good: bool,
    /// The system's service manager starts this: report to it
    #[arg(long, hide = true)]
    service: bool,
    #[arg(skip)]
    confined: Option<String>,
}

impl Arguments {
    /// Takes from this process what the gateway does not need. Only threads that start later are held to it: so it comes first.
    pub fn confine(&mut self, global: &Global) {
        let Ok(file) = config_file(global) else { return };
        let loaded = files::gather(&file).and_then(|texts| files::parse(&file, texts)).ok();
        let config = loaded.as_ref().map(|loaded| &loaded.config);
        let storage = config.map(|config| config.storage.path.clone()).or_else(|| files::storage_path_of_broken(&file));
        let Some(storage) = storage else { return };
        // Only what exists can be let out of the ban; whatever is wrong with it is said when the store is opened.
        if config.is_some() && !storage.exists() {
            let _ = platform::private_directory(&storage);
        }
        let backup = config.and_then(|config| config.storage.backup.as_ref()).map(|backup| backup.dir.clone());
        let beside = file.parent().map(Path::to_owned);
        self.confined = Some(platform::confine(&Confinement {
            writable: [storage].into_iter().chain(beside).chain(backup).collect(),
            ports: config.map(|config| {
                let sockets = Service::ALL.iter().flat_map(|service| service.addresses(&config.listen)).chain(&config.listen.admin);
                sockets.map(SocketAddr::port).collect()
            }),
            // Of files that do not load it is not known.
            commands: config.is_none_or(runs_commands),
        }));
    }
}

/// Whether a password comes from a command.
fn runs_commands(config: &Config) -> bool {
    let collectors = config.collectors.iter().map(|collector| &collector.auth);
    let smarthosts = config.smarthosts.iter().filter_map(|smarthost| match &smarthost.login {
        SmarthostLogin::Own(_, auth) => Some(auth),
        SmarthostLogin::None | SmarthostLogin::Collector => None,
    });
    collectors.chain(smarthosts).any(|auth| {
        let source = match auth {
            Auth::Password(source) => Some(source),
            Auth::OAuth2(oauth) => oauth.client_secret.as_ref(),
        };
        matches!(source, Some(SecretSource::Command(_)))
    })
}

/// Runs it until it is told to stop.
pub async fn run(arguments: Arguments, global: &Global) -> anyhow::Result<Exit> {
    if arguments.service {
        platform::connect_service().map_err(anyhow::Error::msg)?;
    }
    let result = serve(arguments, global).await;
    if let Err(error) = &result
        && platform::stderr_is_lost()
    {
        // Without a configuration there is no log yet.
        log::start(&Log { level: Level::Info, json: false }, global.verbose);
        tracing::error!("it does not start: {error:#}");
    }
    result
}

async fn serve(arguments: Arguments, global: &Global) -> anyhow::Result<Exit> {
    let file = config_file(global)?;
    // Before anything is logged: the log is configured in the file that may be what has to be logged about.
    let loaded = files::gather(&file).and_then(|texts| files::parse(&file, texts));
    let storage = loaded.as_ref().ok().map(|loaded| loaded.config.storage.path.clone()).or_else(|| files::storage_path_of_broken(&file));
    let configured = loaded.map(|loaded| loaded.config.log);
    let clerk = log::start_gateway(&configured.unwrap_or(Log { level: Level::Info, json: false }), global.verbose, storage.as_deref());
    if let Some(confined) = arguments.confined {
        tracing::info!("{confined}");
    }
    let mut signals = platform::Signals::new()?;
    let gateway = match Gateway::start(Options { file, last_good: arguments.last_good }).await {
        Ok(gateway) => gateway,
        Err(StartError::Load(error)) => return Err(anyhow::Error::new::<LoadError>(error)),
        Err(error) => return Err(error.into()),
    };
    let mut out = std::io::stdout();
    writeln!(out, "{}", gateway.ready_line()).and_then(|()| out.flush())?;
    platform::announce_ready();
    if let Some(clerk) = &clerk {
        clerk.gather();
    }
    let beat = platform::watchdog_interval();
    loop {
        let alive = async {
            match beat {
                Some(interval) => tokio::time::sleep(interval).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            told = signals.next() => match told {
                Told::Stop => break,
                Told::Reload => gateway.reload(),
            },
            () = alive => platform::announce_alive(),
        }
    }
    platform::announce_stopping();
    gateway.stop().await;
    Ok(Exit::Done)
}
