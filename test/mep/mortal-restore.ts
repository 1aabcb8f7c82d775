/**
 * A restore that at one step kills itself, as `kill -9` would.
 *
 * Usage: node --import tsx test/mep/mortal-restore.ts <backup> <site.yaml> <file of its fate>
 *
 * Steps: {opened,placed}.{before,after}, where `opened` is the services' store as a start would open it, before anything is in its
 * place, and `placed` is when all is.
 */
import { ZipFile } from "yauzl";
import { restore } from "../../controlplane/backup/restore.ts";
import { Store } from "../../controlplane/store/store.ts";
import { Mortal } from "../mortal.ts";

const [backup = "", config = "", fate = ""] = process.argv.slice(2);
const mortal = new Mortal(fate);
mortal.watch(Store.prototype, "close", "opened");
mortal.watch(ZipFile.prototype, "close", "placed");
await restore({ backup, config });
