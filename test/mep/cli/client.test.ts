/**
 * Does `offramp client` say who may ask for tokens of Mp1, and can an app check whom it asks (B5)?
 *
 * The real agent with Mp1 over TLS; the app is curl.
 */
import { execFile, execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Running, withAgent } from "../../api/harness.ts";
import { inDirectory, offramp, on } from "../../cli/harness.ts";
import { webRule } from "../fixtures.ts";
import { externalAppD } from "../packages/zip.ts";

const site = (tls = "") => `api: { listen: 127.0.0.1:0 }\nmep: { mp1: { listen: 127.0.0.1:0${tls} } }`;

interface Setting {
  running: Running;
  directory: string;
  /** Standard output, or code and standard error. */
  verb(...args: string[]): Promise<string>;
  /** `status body` of Mp1, with these options of curl; status 0: no connection was made. */
  curl(path: string, ...options: string[]): Promise<string>;
  /** `{error}` or the token. */
  token(...credentials: string[]): Promise<string>;
}

async function setting(tls: (directory: string) => string, body: (setting: Setting) => Promise<void>): Promise<void> {
  await inDirectory((directory) =>
    withAgent(
      async (running) => {
        const verb = async (...args: string[]) => {
          const { code, out, err } = await offramp(args, on(running));
          return code === 0 ? out : `${code} ${err}`;
        };
        const ca = join(directory, "ca.pem");
        const { body: mp1 } = await running.call("GET", "/api/v1/mp1");
        const curl = (path: string, ...options: string[]) =>
          new Promise<string>((resolve) => {
            const argv = ["-sS", "-m", "30", "-w", "\n%{http_code}", ...options, `${mp1.url}${path}`];
            execFile("curl", argv, (_error, out) => {
              const cut = out.lastIndexOf("\n");
              resolve(`${Number(out.slice(cut + 1))} ${out.slice(0, cut)}`.trim());
            });
          });
        const token = async (...credentials: string[]) => {
          const answer = await curl(
            ...(["/oauth2/token", "--cacert", ca, "-d", "grant_type=client_credentials", ...credentials] as const),
          );
          const { access_token, error } = JSON.parse(answer.replace(/^\d+ /, ""));
          return access_token ?? error;
        };
        await body({ running, directory, verb, curl, token });
      },
      { extra: site(tls(directory)) },
    ),
  );
}

const secretOf = (shown: string): string => shown.trimEnd().split("\n").at(-1) ?? "";
const time = (tokenText: string, ca: string) => ["--cacert", ca, "-H", `authorization: Bearer ${tokenText}`] as const;
const current = "/mec_app_support/v1/timing/current_time";

test("an app elsewhere is added, gets tokens, a new secret, another key, and its end (B5)", async () => {
  await setting(
    () => "",
    async ({ running, directory, verb, curl, token }) => {
      const ca = join(directory, "ca.pem");
      assert.is(await verb("client", "ls"), "no clients\n");
      writeFileSync(ca, await verb("app", "ca"));
      const added = await verb("client", "add", "meter", "--scope", "mec_app_support");
      assert.match(added, /^client meter; its secret, which is shown this once:\n\S{20,}\n$/);
      const first = secretOf(added);
      assert.match(await verb("client", "ls"), /^meter +elsewhere +\S+Z +\S+Z +mec_app_support$/m);
      assert.match(await verb("client", "add", "meter"), /^1 .*there is a client "meter" already/);
      assert.match(await verb("client", "add", "a b"), /^1 /);
      assert.match(await verb("client", "add", "x", "--scope", "all"), /^2 .*is none of mec_app_support, /s);
      assert.match(await verb("client", "add", "x", "--certificate"), /^1 .*mep\.mp1\.tls\.clientCa/);

      const one = await token("-u", `meter:${first}`);
      assert.match(await curl(current, ...time(one, ca)), /^200 /);
      // A new key: tokens of before go on, unless they are to end.
      assert.match(await verb("client", "rotate-key"), /^tokens are signed with \S+\n$/);
      assert.match(await curl(current, ...time(one, ca)), /^200 /);
      const rotated = JSON.parse(await verb("client", "rotate-key", "--end", "--json"));
      const jwks = await curl("/oauth2/jwks", "--cacert", ca);
      assert.equal(
        JSON.parse(jwks.slice(4)).keys.map(({ kid }: { kid: string }) => kid),
        [rotated.kid],
      );
      assert.match(await curl(current, ...time(one, ca)), /^401 /);
      const two = await token("-u", `meter:${first}`);
      assert.match(await curl(current, ...time(two, ca)), /^200 /);

      const second = secretOf(await verb("client", "secret", "meter"));
      assert.is(await token("-u", `meter:${first}`), "invalid_client");
      assert.match(await curl(current, ...time(two, ca)), /^401 /);
      assert.match(await curl(current, ...time(await token("-u", `meter:${second}`), ca)), /^200 /);
      assert.is(await verb("client", "rm", "meter"), "removed meter\n");
      assert.is(await token("-u", `meter:${second}`), "invalid_client");
      for (const args of [["rm", "meter"] as const, ["secret", "meter"] as const]) {
        assert.match(await verb("client", ...args), /^1 .*there is no client "meter"/);
      }
      const { body } = await running.call("GET", "/api/v1/audit?limit=1000");
      assert.not.match(JSON.stringify(body), new RegExp(`${first}|${second}`));
    },
  );
});

test("Mp1's own certificate is checked by what offramp app ca prints, and by nothing else (B5)", async () => {
  await setting(
    () => "",
    async ({ running, directory, verb, curl }) => {
      const ca = join(directory, "ca.pem");
      const { body } = await running.call("GET", "/api/v1/mp1");
      assert.is(body.tokenEndpoint, `${body.url}/oauth2/token`);
      writeFileSync(ca, await verb("app", "ca"));
      assert.is(await verb("app", "ca"), body.ca);
      assert.is(await verb("app", "ca", "--json"), `${JSON.stringify(body, null, 2)}\n`);
      assert.is(await curl("/openapi.json"), "0");
      assert.match(await curl("/openapi.json", "--cacert", ca), /^200 /);
    },
  );
});

/** A certificate and its key, by openssl. `signer`: an authority that `certify` has made. */
function certify(directory: string, name: string, signer?: string): string {
  const path = join(directory, name);
  const names = ["-subj", `/CN=${name}`, "-addext", "subjectAltName=IP:127.0.0.1"];
  const by = signer === undefined ? [] : ["-CA", `${signer}.pem`, "-CAkey", `${signer}.key`];
  const files = ["-keyout", `${path}.key`, "-out", `${path}.pem`, "-days", "2"];
  const kind = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  execFileSync("openssl", [...kind, ...names, ...by, ...files], { stdio: "pipe" });
  return path;
}

test("a site's certificate and its authority; a client that its certificate proves has no secret (B5)", async () => {
  await setting(
    (directory) => {
      const authority = certify(directory, "ca");
      for (const name of ["mp1", "robot"]) certify(directory, name, authority);
      const [cert, key] = [join(directory, "mp1.pem"), join(directory, "mp1.key")];
      return `, tls: { cert: ${cert}, key: ${key}, clientCa: ${authority}.pem, ca: ${authority}.pem }`;
    },
    async ({ directory, verb, curl, token }) => {
      const [ca, robot] = [join(directory, "ca.pem"), join(directory, "robot")];
      assert.is(await verb("app", "ca"), execFileSync("cat", [ca], { encoding: "utf8" }));
      assert.match(await curl("/openapi.json", "--cacert", ca), /^200 /);
      assert.match(await verb("client", "add", "robot", "--certificate"), /^client robot; its certificate names it/);
      assert.match(await verb("client", "ls"), /^robot +elsewhere +\S+Z +– /m);
      const certificate = ["--cert", `${robot}.pem`, "--key", `${robot}.key`];
      assert.is(await token("-d", "client_id=robot"), "invalid_client");
      assert.is(await token("-u", "robot:"), "invalid_client");
      const made = await token("-d", "client_id=robot", ...certificate);
      assert.match(await curl(current, ...time(made, ca), ...certificate), /^200 /);
      assert.match(await curl(current, ...time(made, ca)), /^401 /, "bound to the certificate");
    },
  );
});

test("a package is installed with credentials; its rules are shown; a new secret ends the old one (B5, B7)", async () => {
  const rule = webRule({ dstInterface: [{ interfaceType: "IP", dstIPAddress: "10.60.0.10" }] });
  await setting(
    () => "",
    async ({ directory, verb, curl, token }) => {
      const [folder, zip, ca] = [join(directory, "app"), join(directory, "app.zip"), join(directory, "ca.pem")];
      mkdirSync(folder);
      writeFileSync(join(folder, "appd.json"), JSON.stringify(externalAppD({ appTrafficRule: [rule] })));
      await verb("app", "pack", folder, "-o", zip);
      writeFileSync(ca, await verb("app", "ca"));
      const installed = await verb("app", "install", zip, "--id", "one");
      assert.match(installed, /ONBOARDED.*\ninstance one \(cache\): started/s);
      const first = secretOf(installed);
      assert.match(await verb("client", "ls"), /^one +instance .* mec_app_support mec_app_support:rules$/m);
      const lines = (await verb("app", "rules", "one")).split("\n").map((line) => line.replace(/ +/g, " ").trim());
      assert.equal(lines, [
        "TRAFFIC RULE STATE PRIO TYPE FILTER ACTION TO UPLINK DOWNLINK",
        "web INACTIVE 10 FLOW dstAddress 203.0.113.20 dstPort 80 protocol tcp FORWARD_DECAPSULATED 10.60.0.10 0 0",
        "",
        "no DNS rules",
        "",
      ]);
      assert.is(JSON.parse(await verb("app", "rules", "one", "--json")).traffic[0].rule.trafficRuleId, "web");
      assert.match(await verb("app", "rules", "two"), /^1 .*no app instance "two"/);
      const ready = "/mec_app_support/v1/applications/one/confirm_ready";
      const json = ["-H", "content-type: application/json", "-d", '{"indication":"READY"}'];
      const old = await token("-u", `one:${first}`);
      assert.is(await curl(ready, ...time(old, ca), ...json), "204");
      const second = secretOf(await verb("app", "credentials", "one"));
      assert.is(await token("-u", `one:${first}`), "invalid_client");
      assert.match(await curl(current, ...time(old, ca)), /^401 /);
      assert.match(await curl(current, ...time(await token("-u", `one:${second}`), ca)), /^200 /);
      assert.match(await verb("app", "credentials", "two"), /^1 .*there is no app instance "two"/);
      assert.match(await verb("client", "rm", "one"), /^1 .*is an instance/);
    },
  );
});

test("a site without Mp1 says so (B5)", async () => {
  await withAgent(
    async (running) => {
      const { code, err } = await offramp(["app", "ca"], on(running));
      assert.is(code, 1);
      assert.match(err, /this site has no Mp1: mep\.mp1 in site\.yaml/);
    },
    { extra: "api: { listen: 127.0.0.1:0 }\nmep: {}" },
  );
});

test.run();
