@echo off
rem A command prompt in which `mailroom` is found, with the configuration of the service.
title Mailroom
set "PATH=%~dp0;%PATH%"
set "MAILROOM_CONFIG=%ProgramData%\Mailroom\mailroom.toml"
cd /d "%ProgramData%\Mailroom" 2>nul || cd /d "%~dp0"
echo mailroom status   shows how it is doing
echo mailroom --help   shows what else it can do; most of it needs "Run as administrator"
