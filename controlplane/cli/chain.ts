/**
 * `offramp chain show [service]`: what the functions of a chain have to configure, as commands.
 */
import type { Command } from "commander";
import { type ChainView, chainLines } from "../chains/describe.ts";
import { CliError, Client, type ClientOptions, query } from "./client.ts";
import { print, type Show } from "./output.ts";

interface Options extends ClientOptions, Show {
  function?: string;
}

export function chainVerb(command: Command, api: (command: Command) => Command): void {
  command.description("chains of functions that packets pass");
  api(command.command("show [service]"))
    .description("what each function has to configure, as commands for a shell")
    .option("--function <address>", "only what is for this one")
    .action(async (service: string | undefined, options: Options) => {
      const path = `/api/v1/chains${query({ service })}`;
      const { chains } = await new Client(options).get<{ chains: ChainView[] }>(path);
      if (service !== undefined && chains.length === 0)
        throw new CliError(`there is no chain of a service "${service}"`);
      const only = (list: ChainView["uplink"]) =>
        list.filter((one) => options.function === undefined || one.function === options.function);
      const shown = chains.map((chain) => ({ ...chain, uplink: only(chain.uplink), downlink: only(chain.downlink) }));
      print({ chains: shown }, ({ chains: all }) => chainLines(all), options);
    });
}
