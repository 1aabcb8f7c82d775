/**
 * From which servers does the platform have its time?
 *
 * What the configuration of chronyd or systemd-timesyncd says, whichever is there, as GS MEC 011 §7.1.2.4 wants it told; or
 * what site.yaml says instead. Pure; reading the files is timing.ts's.
 */
import { AddressError, parseAddress } from "../../controlplane/intents/prefix.ts";
import type { NtpServer } from "../model/support.ts";

const exponent = (value: string | undefined, standard: number): number => {
  const found = Number(value ?? standard);
  return Math.min(Math.max(Number.isInteger(found) ? found : standard, 3), 17);
};

/** chrony.conf(5): without minpoll and maxpoll, 64 and 1024 seconds. */
const chrony = { minpoll: 6, maxpoll: 10 };

function isAddress(text: string): boolean {
  try {
    parseAddress(text);
    return true;
  } catch (error) {
    if (error instanceof AddressError) return false;
    throw error;
  }
}

export function ntpServer(address: string, more: Partial<NtpServer> = {}): NtpServer {
  return {
    ntpServerAddrType: isAddress(address) ? "IP_ADDRESS" : "DNS_NAME",
    ntpServerAddr: address,
    minPollingInterval: chrony.minpoll,
    maxPollingInterval: chrony.maxpoll,
    localPriority: 1,
    authenticationOption: "NONE",
    authenticationKeyNum: 0,
    ...more,
  };
}

/** Lines `server`, `pool` and `peer` of chrony.conf(5). */
export function chronyServers(text: string): NtpServer[] {
  return text.split("\n").flatMap((line) => {
    const [kind, address, ...options] = line
      .replace(/[#!;%].*$/, "")
      .trim()
      .split(/\s+/);
    if (!address || !/^(server|pool|peer)$/i.test(kind ?? "")) return [];
    const option = (name: string) => {
      const at = options.indexOf(name);
      return at < 0 ? undefined : options[at + 1];
    };
    const key = Number(option("key"));
    const server = ntpServer(address, {
      minPollingInterval: exponent(option("minpoll"), chrony.minpoll),
      maxPollingInterval: exponent(option("maxpoll"), chrony.maxpoll),
      localPriority: options.includes("prefer") ? 0 : 1,
    });
    if (Number.isInteger(key) && key > 0) {
      return [{ ...server, authenticationOption: "SYMMETRIC_KEY" as const, authenticationKeyNum: key }];
    }
    return [server];
  });
}

/** `NTP=` and `FallbackNTP=` of timesyncd.conf(5); the fallbacks count where there is no other. */
export function timesyncdServers(text: string): NtpServer[] {
  const values = (name: string): string[] => {
    let found: string[] = [];
    for (const [, value] of text.matchAll(new RegExp(`^${name}=(.*)$`, "gm"))) {
      const list = (value ?? "").trim().split(/\s+/).filter(Boolean);
      found = list.length === 0 ? [] : [...found, ...list]; // an empty one forgets those before
    }
    return found;
  };
  const seconds = (name: string, standard: number) => Math.log2(Number(values(name).at(-1) ?? standard));
  const [servers, fallbacks] = [values("NTP"), values("FallbackNTP")];
  const polling = {
    minPollingInterval: exponent(String(Math.floor(seconds("PollIntervalMinSec", 32))), 5),
    maxPollingInterval: exponent(String(Math.floor(seconds("PollIntervalMaxSec", 2048))), 11),
  };
  return (servers.length > 0 ? servers : fallbacks).map((address, index) =>
    ntpServer(address, { ...polling, localPriority: index }),
  );
}
