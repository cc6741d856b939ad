Target amd64-unicode ; has to come first: the 32-bit set-up that is the default does nothing on a system with 64 bits alone
; The set-up of Mailroom for Windows. Made by packaging/windows/build, which defines PROGRAM, VERSION, SOURCE and OUT.
;
;   /S                 asks and shows nothing; an old version is replaced, its service goes on with the new one
;   Uninstall.exe /S   the same; mail and configuration stay, unless /DELETEMAIL is given too

!include MUI2.nsh
!include FileFunc.nsh
!include LogicLib.nsh

Name "Mailroom"
OutFile "${OUT}"
InstallDir "$PROGRAMFILES64\Mailroom"
InstallDirRegKey HKLM "Software\Mailroom" "Directory"
RequestExecutionLevel admin
!ifdef QUICK
  SetCompressor zlib
!else
  SetCompressor /SOLID lzma
!endif
ManifestDPIAware true
BrandingText "Mailroom ${VERSION}"

VIProductVersion "${VERSION}.0"
VIAddVersionKey ProductName "Mailroom"
VIAddVersionKey ProductVersion "${VERSION}"
VIAddVersionKey FileVersion "${VERSION}"
VIAddVersionKey FileDescription "Set-up of Mailroom"
VIAddVersionKey LegalCopyright "MIT or Apache-2.0"

!define UNINSTALL "Software\Microsoft\Windows\CurrentVersion\Uninstall\Mailroom"
!define RULE "Mailroom (mail programs on the LAN)"

!insertmacro MUI_PAGE_LICENSE "${SOURCE}\LICENSE"
!insertmacro MUI_PAGE_DIRECTORY
!insertmacro MUI_PAGE_INSTFILES
!define MUI_FINISHPAGE_RUN "$INSTDIR\first-mailbox.cmd"
!define MUI_FINISHPAGE_RUN_TEXT "Set up the first mailbox now"
!define MUI_PAGE_CUSTOMFUNCTION_PRE SkipIfConfigured
!insertmacro MUI_PAGE_FINISH
!insertmacro MUI_UNPAGE_CONFIRM
!insertmacro MUI_UNPAGE_INSTFILES
!insertmacro MUI_LANGUAGE "English"

Var Data       ; %ProgramData%\Mailroom
Var WasRunning ; "yes" if the service of an older version ran

; Runs the program; its exit code is on the stack, what it says goes into the details.
!macro Mailroom ARGUMENTS
  DetailPrint `mailroom ${ARGUMENTS}`
  nsExec::ExecToLog `"$INSTDIR\mailroom.exe" ${ARGUMENTS}`
!macroend

; With a configuration in place there is no first mailbox to ask for.
Function SkipIfConfigured
  ${If} ${FileExists} "$Data\mailroom.toml"
    Abort
  ${EndIf}
FunctionEnd

Function .onInit
  ReadEnvStr $Data ProgramData
  StrCpy $Data "$Data\Mailroom"
  SetShellVarContext all
  SetRegView 64
FunctionEnd

Section "Mailroom"
  ; The program can't be replaced while it runs.
  StrCpy $WasRunning "no"
  ${If} ${FileExists} "$INSTDIR\mailroom.exe"
    !insertmacro Mailroom "service status"
    Pop $0
    ${If} $0 == 0
      StrCpy $WasRunning "yes"
    ${EndIf}
    ; One that only just starts does not run yet, and holds the program all the same.
    !insertmacro Mailroom "service stop"
    Pop $0
  ${EndIf}

  ; What has ended, or a virus scanner, may hold the file for some seconds more.
  SetOutPath "$INSTDIR"
  SetOverwrite try
  StrCpy $1 0
  again:
  ClearErrors
  File "/oname=mailroom.exe" "${PROGRAM}"
  ${If} ${Errors}
    IntOp $1 $1 + 1
    ${If} $1 < 20
      Sleep 500
      Goto again
    ${EndIf}
    DetailPrint "$INSTDIR\mailroom.exe can't be replaced: something still runs it"
    ${If} $WasRunning == "yes"
      !insertmacro Mailroom "service start"
      Pop $0
    ${EndIf}
    SetErrorLevel 1
    Abort
  ${EndIf}
  SetOverwrite on
  File "${SOURCE}\LICENSE"
  File "/oname=README.txt" "${SOURCE}\packaging\windows\README.txt"
  File "/oname=mailroom-annotated.toml" "${SOURCE}\packaging\mailroom.toml"
  File "${SOURCE}\packaging\windows\first-mailbox.cmd"
  File "${SOURCE}\packaging\windows\prompt.cmd"
  SetOutPath "$INSTDIR\examples"
  File /r "${SOURCE}\mappings\examples\*.*"
  SetOutPath "$INSTDIR"
  WriteUninstaller "$INSTDIR\Uninstall.exe"

  CreateDirectory "$SMPROGRAMS\Mailroom"
  CreateShortcut "$SMPROGRAMS\Mailroom\Set up the first mailbox.lnk" "$INSTDIR\first-mailbox.cmd"
  CreateShortcut "$SMPROGRAMS\Mailroom\Mailroom command prompt.lnk" "$SYSDIR\cmd.exe" '/k ""$INSTDIR\prompt.cmd""'
  CreateShortcut "$SMPROGRAMS\Mailroom\Read me.lnk" "$INSTDIR\README.txt"

  WriteRegStr HKLM "Software\Mailroom" "Directory" "$INSTDIR"
  WriteRegStr HKLM "${UNINSTALL}" "DisplayName" "Mailroom"
  WriteRegStr HKLM "${UNINSTALL}" "DisplayVersion" "${VERSION}"
  WriteRegStr HKLM "${UNINSTALL}" "Publisher" "Mailroom"
  WriteRegStr HKLM "${UNINSTALL}" "InstallLocation" "$INSTDIR"
  WriteRegStr HKLM "${UNINSTALL}" "DisplayIcon" "$INSTDIR\Uninstall.exe"
  WriteRegStr HKLM "${UNINSTALL}" "UninstallString" '"$INSTDIR\Uninstall.exe"'
  WriteRegStr HKLM "${UNINSTALL}" "QuietUninstallString" '"$INSTDIR\Uninstall.exe" /S'
  WriteRegDWORD HKLM "${UNINSTALL}" "NoModify" 1
  WriteRegDWORD HKLM "${UNINSTALL}" "NoRepair" 1
  ${GetSize} "$INSTDIR" "/S=0K" $0 $1 $2
  IntFmt $0 "0x%08X" $0
  WriteRegDWORD HKLM "${UNINSTALL}" "EstimatedSize" "$0"

  ; The LAN reaches the program in networks that Windows calls private or a domain's; in a public one nobody does.
  nsExec::ExecToLog 'netsh advfirewall firewall delete rule name="${RULE}"'
  Pop $0
  nsExec::ExecToLog 'netsh advfirewall firewall add rule name="${RULE}" dir=in action=allow protocol=TCP profile=private,domain program="$INSTDIR\mailroom.exe"'
  Pop $0
  ${If} $0 != 0
    DetailPrint "The firewall took no rule: mail programs on the LAN may not reach this machine"
  ${EndIf}

  ; An upgrade: the service is told where the program is now, and goes on.
  ${If} ${FileExists} "$Data\mailroom.toml"
    !insertmacro Mailroom '--config "$Data\mailroom.toml" service install'
    Pop $0
    ${If} $0 != 0
      SetErrorLevel 1
    ${ElseIf} $WasRunning == "yes"
      !insertmacro Mailroom "service start"
      Pop $0
      ${If} $0 != 0
        SetErrorLevel 1
      ${EndIf}
    ${EndIf}
  ${EndIf}
SectionEnd

Var DeleteMail

Function un.onInit
  ReadEnvStr $Data ProgramData
  StrCpy $Data "$Data\Mailroom"
  SetShellVarContext all
  SetRegView 64
  StrCpy $DeleteMail "no"
  ${GetParameters} $0
  ClearErrors
  ${GetOptions} $0 "/DELETEMAIL" $1
  ${IfNot} ${Errors}
    StrCpy $DeleteMail "yes"
  ${EndIf}
FunctionEnd

Section "Uninstall"
  ${If} ${FileExists} "$INSTDIR\mailroom.exe"
    !insertmacro Mailroom "service uninstall"
    Pop $0
  ${EndIf}
  nsExec::ExecToLog 'netsh advfirewall firewall delete rule name="${RULE}"'
  Pop $0

  ${If} $DeleteMail == "no"
  ${AndIf} ${FileExists} "$Data\*.*"
    MessageBox MB_YESNO|MB_ICONQUESTION|MB_DEFBUTTON2 "Delete all mail, users and settings in $Data too? What the ISP does not hold any more is gone then." /SD IDNO IDNO keep
    StrCpy $DeleteMail "yes"
    keep:
  ${EndIf}
  ${If} $DeleteMail == "yes"
    RMDir /r "$Data"
  ${EndIf}

  Delete "$INSTDIR\mailroom.exe"
  Delete "$INSTDIR\LICENSE"
  Delete "$INSTDIR\README.txt"
  Delete "$INSTDIR\mailroom-annotated.toml"
  Delete "$INSTDIR\first-mailbox.cmd"
  Delete "$INSTDIR\prompt.cmd"
  RMDir /r "$INSTDIR\examples"
  Delete "$INSTDIR\Uninstall.exe"
  RMDir "$INSTDIR"
  RMDir /r "$SMPROGRAMS\Mailroom"
  DeleteRegKey HKLM "${UNINSTALL}"
  DeleteRegKey HKLM "Software\Mailroom"
SectionEnd
