/**
 * How does the agent begin again, as the same process?
 *
 * By execve(2): the process id stays, so whoever started it (a service manager, a terminal, a lab) need not know. All but the three
 * standard streams closes by itself; those Node has marked to be closed as well, and the mark is taken away.
 */
import koffi from "koffi";

const setDescriptorFlags = 2; // F_SETFD

/** Does not return. @throws Error when the kernel refuses */
export function beginAgain(): never {
  const libc = koffi.load("libc.so.6");
  const fcntl = libc.func("int fcntl(int fd, int cmd, ...)");
  const execve = libc.func("execve", "int", ["str", "char **", "char **"]);
  for (const stream of [0, 1, 2]) fcntl(stream, setDescriptorFlags, "int", 0);
  const argv = [process.execPath, ...process.execArgv, ...process.argv.slice(1), null];
  const environment = Object.entries(process.env).map(([name, value]) => `${name}=${value}`);
  execve(process.execPath, argv, [...environment, null]);
  throw new Error(`the agent could not begin again: errno ${koffi.errno()}`);
}
