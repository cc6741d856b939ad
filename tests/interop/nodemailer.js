// Sends by nodemailer. Arguments: the ports of submission and submissions, the authority's certificate, the password.
const nodemailer = require("nodemailer");
const fs = require("fs");
const [starttls, implicit, ca, password] = process.argv.slice(2);

function transport(port, secure, more) {
  return nodemailer.createTransport({
    host: "localhost",
    port,
    secure,
    requireTLS: true,
    tls: { ca: fs.readFileSync(ca) },
    auth: { user: "alice", pass: password },
    ...more,
  });
}

function mail(n) {
  return {
    from: "Älice <alice@office.lan>",
    to: ["Bob <bob@office.lan>"],
    bcc: "postmaster@office.lan",
    subject: `Grüße ${n}`,
    text: "Hello\n.\nBob\n",
    attachments: [{ filename: "ä\r\nX-Injected: 1.bin", content: Buffer.alloc(3000, n) }],
    dsn: { id: `id ${n}`, return: "headers", notify: ["failure"], recipient: "bob@office.lan" },
  };
}

async function main() {
  for (const [port, secure] of [[starttls, false], [implicit, true]]) {
    for (const method of ["PLAIN", "LOGIN"]) {
      const one = transport(port, secure, { authMethod: method });
      await one.verify();
      console.log((await one.sendMail(mail(0))).response);
    }
    const pool = transport(port, secure, { pool: true, maxConnections: 1 });
    for (const info of await Promise.all([1, 2, 3, 4].map((n) => pool.sendMail(mail(n))))) {
      console.log(info.response);
    }
    pool.close();
  }
  try {
    await transport(starttls, false).sendMail({ ...mail(9), from: "boss@example.com" });
    throw new Error("somebody else's address was taken");
  } catch (error) {
    if (error.responseCode !== 550) throw error;
    console.log(`refused: ${error.response}`);
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
