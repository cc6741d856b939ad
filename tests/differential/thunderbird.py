"""Thunderbird under Xvfb, told by Marionette what to do with a mailbox: PORT PASSWORD HOME."""
import json, os, socket, subprocess, sys, time

port, password, home = int(sys.argv[1]), sys.argv[2], sys.argv[3]
profile = os.path.join(home, "profile")
os.makedirs(profile, exist_ok=True)
prefs = {
    "app.update.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "mail.provider.suppress_dialog_on_startup": True,
    "mail.spotlight.firstRunDone": True,
    "mail.winsearch.firstRunDone": True,
    "mail.shell.checkDefaultClient": False,
    "mailnews.start_page.enabled": False,
    "marionette.port": 2999,
    "mail.accountmanager.accounts": "account1",
    "mail.accountmanager.defaultaccount": "account1",
    "mail.account.account1.server": "server1",
    "mail.account.account1.identities": "id1",
    "mail.identity.id1.fullName": "Alice",
    "mail.identity.id1.useremail": "alice@example.com",
    "mail.identity.id1.valid": True,
    "mail.server.server1.type": "imap",
    "mail.server.server1.hostname": "127.0.0.1",
    "mail.server.server1.port": port,
    "mail.server.server1.userName": "alice",
    "mail.server.server1.name": "alice",
    "mail.server.server1.authMethod": 3,
    "mail.server.server1.socketType": 0,
    "mail.server.server1.login_at_startup": False,
    "mail.server.server1.check_new_mail": False,
    "mail.server.server1.max_cached_connections": 1,
}
with open(os.path.join(profile, "user.js"), "w") as file:
    for name, value in prefs.items():
        file.write(f"user_pref({json.dumps(name)}, {json.dumps(value)});\n")

WORK = """
const done = arguments[arguments.length - 1];
const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
(async () => {
  const login = Cc["@mozilla.org/login-manager/loginInfo;1"].createInstance(Ci.nsILoginInfo);
  login.init("imap://127.0.0.1", null, "imap://127.0.0.1", "alice", PASSWORD, "", "");
  await Services.logins.addLoginAsync(login);
  const server = MailServices.accounts.accounts[0].incomingServer;
  const finished = [];
  const wait = start => new Promise((resolve, reject) => {
    const listener = {
      QueryInterface: ChromeUtils.generateQI(["nsIUrlListener"]),
      OnStartRunningUrl() {},
      OnStopRunningUrl(url, status) { finished.push(status); resolve(status); },
    };
    start(listener);
    setTimeout(() => reject(new Error("nothing ended after " + start)), 20000);
  });
  const pause = ms => new Promise(resolve => setTimeout(resolve, ms));
  const root = server.rootFolder.QueryInterface(Ci.nsIMsgImapMailFolder);
  server.performExpand(null);
  await pause(3000);
  const inbox = server.rootFolder.getFolderWithFlags(Ci.nsMsgFolderFlags.Inbox);
  const open = folder => wait(listener => folder.QueryInterface(Ci.nsIMsgImapMailFolder).updateFolderWithListener(null, listener));
  await open(inbox);
  const mails = () => [...inbox.messages];
  const read = async header => {
    const uri = inbox.getUriForMsg(header);
    const service = MailServices.messageServiceFromURI(uri);
    await wait(listener => service.streamMessage(uri, {
      QueryInterface: ChromeUtils.generateQI(["nsIStreamListener"]),
      onStartRequest() {}, onStopRequest() { listener.OnStopRunningUrl(null, 0); },
      onDataAvailable(request, stream, offset, count) {
        const input = Cc["@mozilla.org/scriptableinputstream;1"].createInstance(Ci.nsIScriptableInputStream);
        input.init(stream); input.read(count);
      },
    }, null, null, false, "", false));
  };
  await read(mails()[0]);
  inbox.markMessagesRead(mails().slice(0, 2), true);
  inbox.markMessagesFlagged(mails().slice(1, 2), true);
  inbox.addKeywordsToMessages(mails().slice(2, 3), "$label1");
  await pause(1500);
  inbox.createSubfolder("Thunder", null);
  await pause(3000);
  server.performExpand(null);
  await pause(2000);
  const target = inbox.getChildNamed("Thunder") || server.rootFolder.getChildNamed("Thunder");
  if (target) {
    await open(target);
    MailServices.copy.copyMessages(inbox, mails().slice(0, 1), target, false, null, null, false);
    await pause(2000);
    MailServices.copy.copyMessages(inbox, mails().slice(1, 2), target, true, null, null, false);
    await pause(2000);
    await open(target);
  }
  await open(inbox);
  const session = Cc["@mozilla.org/messenger/searchSession;1"].createInstance(Ci.nsIMsgSearchSession);
  session.addScopeTerm(Ci.nsMsgSearchScope.onlineMail, inbox);
  const term = session.createTerm();
  const value = term.value;
  value.attrib = Ci.nsMsgSearchAttrib.Body;
  value.str = "text";
  term.value = value; term.attrib = Ci.nsMsgSearchAttrib.Body; term.op = Ci.nsMsgSearchOp.Contains;
  session.appendTerm(term);
  session.search(null);
  await pause(2000);
  inbox.deleteMessages(mails().slice(0, 1), null, true, false, null, false);
  await pause(2500);
  await wait(listener => inbox.compact(listener, null));
  await open(inbox);
  return finished.length + " things done, " + mails().length + " mails left";
})().then(done, error => done("failed: " + error + " " + error.stack));
"""

command = ["thunderbird", "--marionette", "--no-remote", "--profile", profile]
program = subprocess.Popen(["xvfb-run", "-a"] + command, env={**os.environ, "HOME": home, "MOZ_CRASHREPORTER_DISABLE": "1"})
try:
    for _ in range(120):
        try:
            stream = socket.create_connection(("127.0.0.1", 2999))
            break
        except OSError:
            time.sleep(1)
    file = stream.makefile("rwb")

    def receive():
        length = b""
        while (byte := file.read(1)) != b":":
            length += byte
        return json.loads(file.read(int(length)))

    def ask(number, name, parameters):
        text = json.dumps([0, number, name, parameters]).encode()
        file.write(str(len(text)).encode() + b":" + text)
        file.flush()
        return receive()

    print(receive())
    print(ask(1, "WebDriver:NewSession", {})[2])
    ask(2, "WebDriver:SetTimeouts", {"script": 180000})
    ask(3, "Marionette:SetContext", {"value": "chrome"})
    # its first windows come and go
    time.sleep(15)
    windows = ask(6, "WebDriver:GetWindowHandles", {})[3]
    print(windows, ask(7, "WebDriver:SwitchToWindow", {"handle": windows[0]}))
    print(ask(4, "WebDriver:ExecuteAsyncScript", {"script": WORK.replace("PASSWORD", json.dumps(password)), "args": []}))
    print(ask(5, "Marionette:Quit", {"flags": ["eForceQuit"]}))
finally:
    try:
        program.wait(20)
    except subprocess.TimeoutExpired:
        program.terminate()
