// Reads and sorts by imapflow. Arguments: the ports of imap and imaps, the authority's certificate, the password, how many mails there are.
import { readFileSync } from "node:fs";
import { ImapFlow } from "imapflow";

const [imap, imaps, ca, password, mails] = process.argv.slice(2);

function client(port, secure) {
  const tls = { ca: readFileSync(ca) };
  return new ImapFlow({ host: "localhost", port: Number(port), secure, tls, auth: { user: "alice", pass: password }, logger: false });
}

function check(what, got, expected) {
  if (JSON.stringify(got) !== JSON.stringify(expected)) throw new Error(`${what}: ${JSON.stringify(got)} instead of ${JSON.stringify(expected)}`);
}

const one = client(imap, false);
await one.connect();
check("STARTTLS", one.secureConnection, true);
const folders = await one.list();
check("special folders", folders.filter((folder) => folder.specialUse).map((folder) => folder.specialUse).sort(), ["\\Archive", "\\Drafts", "\\Inbox", "\\Junk", "\\Sent", "\\Trash"]);
const status = await one.status("INBOX", { messages: true, unseen: true, uidNext: true });
check("status", [status.messages, status.unseen], [Number(mails), Number(mails)]);
const lock = await one.getMailboxLock("INBOX");
let seen = 0;
for await (const message of one.fetch("1:*", { uid: true, flags: true, envelope: true, bodyStructure: true, internalDate: true, size: true, source: true })) {
  check("subject", message.envelope.subject, `Angebot für Nr._${seen}`.replace("_", " "));
  check("parts", message.bodyStructure.childNodes.length, 2);
  check("size", message.source.length, message.size);
  seen += 1;
}
check("messages", seen, Number(mails));
const found = await one.search({ body: "needle7" }, { uid: true });
check("found", found.length, 1);
check("flag", await one.messageFlagsAdd(found, ["\\Flagged", "$Label1"], { uid: true }), true);
check("flagged", await one.search({ flagged: true, keyword: "$Label1" }, { uid: true }), found);
const download = await one.download(found[0], "1", { uid: true });
let text = "";
for await (const piece of download.content) text += piece;
check("text", text.includes("needle7 in the text"), true);
await one.mailboxCreate(["Projects", "Bärlin"]);
const moved = await one.messageMove(found, ["Projects", "Bärlin"], { uid: true });
check("moved", moved.uidMap.size, 1);
check("deleted", await one.messageDelete("1"), true);

const noticed = new Promise((resolve) => one.once("exists", resolve));
one.idle();
const other = client(imaps, true);
await other.connect();
const appended = await other.append("INBOX", "Subject: pushed\r\n\r\nx\r\n", ["\\Seen"]);
check("appended", typeof appended.uid, "number");
const notice = await noticed;
check("notice", notice.count, Number(mails) - 1);
await other.mailboxRename(["Projects", "Bärlin"], ["Projects", "Done"]);
await other.mailboxDelete(["Projects", "Done"]);
console.log("quota", JSON.stringify(await other.getQuota("INBOX")));
await other.logout();
lock.release();
await one.logout();
console.log("all done");
