/**
 * What may a new appliance be told in its user-data?
 *
 * A small, strict dialect of cloud-config: the members below and no others. `site` is a whole site.yaml, judged by its own
 * schema (../config/schema.ts) after what the appliance knows by itself was filled in.
 */
import Type, { type Static, type TSchema } from "typebox";

const object = <T extends Record<string, TSchema>>(members: T) => Type.Object(members, { additionalProperties: false });
const text = (pattern: string, says: string) => Type.String({ pattern, says, maxLength: 16_384 });

const mac = text("^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$", "a MAC address such as 52:54:00:00:00:01");
const address = Type.String({ maxLength: 64 });
const pem = (what: string) =>
  text(`^-----BEGIN [A-Z0-9 ]*${what}-----[\\s\\S]+-----END `, `PEM of a ${what.toLowerCase()}`);

export const userDataSchema = object({
  hostname: Type.Optional(
    text(
      "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$",
      "a host name: letters, digits and dashes",
    ),
  ),
  ssh_authorized_keys: Type.Optional(
    Type.Array(
      text(
        "^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-ssh-ed25519@openssh\\.com|sk-ecdsa-sha2-nistp256@openssh\\.com) [A-Za-z0-9+/]+={0,3}( [^\\n\\r]*)?$",
        "a public key as ssh-keygen writes it, on one line and without options",
      ),
      { maxItems: 64 },
    ),
  ),
  offramp: Type.Optional(
    object({
      version: Type.Integer({ minimum: 1, maximum: 1 }),
      site: Type.Record(Type.String(), Type.Unknown()),
      adapters: Type.Optional(
        object({
          mgmt0: Type.Optional(mac),
          acc0: Type.Optional(mac),
          cor0: Type.Optional(mac),
          apps0: Type.Optional(mac),
        }),
      ),
      management: Type.Optional(
        object({
          dhcp: Type.Optional(Type.Boolean()),
          address: Type.Optional(address),
          gateway: Type.Optional(address),
          dns: Type.Optional(Type.Array(address, { maxItems: 8 })),
        }),
      ),
      token: Type.Optional(text("^[!-~]{16,4096}$", "16 to 4096 characters without blanks")),
      tls: Type.Optional(object({ cert: pem("CERTIFICATE"), key: pem("PRIVATE KEY") })),
    }),
  ),
});

export type UserData = Static<typeof userDataSchema>;
