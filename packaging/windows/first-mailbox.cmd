@echo off
rem Asks for the first mailbox, then lets Mailroom start with Windows. Needs an administrator's rights.
title Mailroom
net session >nul 2>&1
if errorlevel 1 (
  echo Please start this with a right click and "Run as administrator".
  pause
  exit /b 1
)
set "DATA=%ProgramData%\Mailroom"
if not exist "%DATA%\mailroom.toml" (
  "%~dp0mailroom.exe" init "%DATA%" || goto failed
)
"%~dp0mailroom.exe" --config "%DATA%\mailroom.toml" service install || goto failed
"%~dp0mailroom.exe" service start || goto failed
echo.
echo Mailroom runs, and starts with Windows from now on.
pause
exit /b 0

:failed
echo.
echo That did not work; the lines above say why. This can be started again from the start menu.
pause
exit /b 1
