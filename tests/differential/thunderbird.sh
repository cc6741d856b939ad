#!/bin/bash
# A person at Thunderbird: thunderbird.sh PORT PASSWORD, in an empty home. Opens the inbox, reads, stars, marks, deletes, archives, searches,
# saves a draft, and leaves. Needs Xvfb and xdotool.
set -u
port=$1 password=$2
export DISPLAY=:${MAILROOM_DISPLAY:-97}
Xvfb "$DISPLAY" -screen 0 1280x900x24 >/dev/null 2>&1 &
trap 'kill %1' EXIT
mkdir -p profile
cat >profile/user.js <<END
user_pref("mail.accountmanager.accounts", "account1");
user_pref("mail.accountmanager.defaultaccount", "account1");
user_pref("mail.account.account1.server", "server1");
user_pref("mail.account.account1.identities", "id1");
user_pref("mail.identity.id1.useremail", "alice@example.com");
user_pref("mail.identity.id1.fullName", "Alice");
user_pref("mail.identity.id1.valid", true);
user_pref("mail.identity.id1.compose_html", false);
user_pref("mail.identity.id1.smtpServer", "smtp1");
user_pref("mail.identity.id1.draft_folder", "imap://alice@127.0.0.1/Drafts");
user_pref("mail.identity.id1.drafts_folder_picker_mode", "1");
user_pref("mail.identity.id1.archive_folder", "imap://alice@127.0.0.1/Archive");
user_pref("mail.identity.id1.archives_folder_picker_mode", "1");
user_pref("mail.smtpservers", "smtp1");
user_pref("mail.smtpserver.smtp1.hostname", "127.0.0.1");
user_pref("mail.smtpserver.smtp1.port", 9);
user_pref("mail.server.server1.type", "imap");
user_pref("mail.server.server1.hostname", "127.0.0.1");
user_pref("mail.server.server1.port", $port);
user_pref("mail.server.server1.userName", "alice");
user_pref("mail.server.server1.name", "office");
user_pref("mail.server.server1.socketType", 0);
user_pref("mail.server.server1.authMethod", 3);
user_pref("mail.server.server1.login_at_startup", true);
user_pref("mail.server.server1.max_cached_connections", 1);
user_pref("mail.server.server1.cleanup_inbox_on_exit", true);
user_pref("mail.server.server1.empty_trash_on_exit", true);
user_pref("mail.rights.version", 1);
user_pref("mail.shell.checkDefaultClient", false);
user_pref("mailnews.start_page.enabled", false);
user_pref("mail.spotlight.firstRunDone", true);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("toolkit.telemetry.reportingpolicy.firstRun", false);
user_pref("app.donation.eoy.version.viewed", 999);
user_pref("app.update.enabled", false);
user_pref("mail.provider.enabled", false);
user_pref("mail.warn_on_send_accel_key", false);
END
timeout 300 thunderbird --profile "$PWD/profile" --no-remote >thunderbird.log 2>&1 &
program=$!

# There is no window manager: a window gets the keys when it is told so, and stands where it stood the last time.
to() { xdotool windowfocus "$(timeout 90 xdotool search --sync --onlyvisible --name "$1" | head -1)" && sleep 2; }
key() { for name in "$@"; do xdotool key --delay 100 "$name" && sleep 2; done; }
click() { xdotool mousemove "$1" "$2" click 1 && sleep 3; }
write() { xdotool type --delay 120 "$1" && sleep 2; }

to 'Enter your password'
sleep 5
write "$password"
key Return
sleep 30

to 'Mozilla Thunderbird'
click 430 130        # reads the first
key s Down m         # a star; the next is read, and made unread
key Down Delete      # the third goes into the trash
sleep 3
key Down a           # another into the archive
sleep 4
click 430 130
key j                # and the first is junk

key ctrl+n
sleep 5
to 'Write:'
write 'ben@example.com'
key Return Tab
write 'A draft'
key Tab
write 'written'
key ctrl+s
sleep 4
key ctrl+w

to 'Mozilla Thunderbird'
click 130 141        # the inbox again
key ctrl+shift+f
sleep 4
to 'Search Messages'
click 287 314        # to be searched by the server
click 816 368
write 'Grüße 4'
click 970 248
sleep 4
[ -z "${MAILROOM_SCREENSHOT:-}" ] || import -window root "$MAILROOM_SCREENSHOT"
key ctrl+w

to 'Mozilla Thunderbird'
key ctrl+q
wait "$program"
