/**
 * How are instances and operations shown (GS MEC 010-2 §6.2.2.4, §6.2.2.13)?
 */
import { link, timeStamp } from "../management/links.ts";
import type { AppD } from "../model/appd.ts";
import type { AppInstanceInfo, AppLcmOpOcc } from "../model/lcm.ts";
import type { Exit } from "../runtime/runtime.ts";
import type { InstanceRecord, Operation } from "./record.ts";

export const lcmRoot = "/app_lcm/v1";

/** @param exit how its program has ended, if it has */
export function instanceInfo(instance: InstanceRecord, appd: AppD, base: string, exit?: Exit): AppInstanceInfo {
  const self = `${lcmRoot}/app_instances/${encodeURIComponent(instance.id)}`;
  const instantiated = instance.instantiationState === "INSTANTIATED";
  const { terminating } = instance;
  return {
    id: instance.id,
    appInstanceName: instance.name,
    ...(instance.description !== undefined && { appInstanceDescription: instance.description }),
    appDId: instance.appDId,
    appProvider: instance.provider,
    appName: appd.appName,
    appSoftVersion: appd.appSoftVersion,
    appDVersion: appd.appDVersion,
    appPkgId: instance.package,
    instantiationState: instance.instantiationState,
    ...(instantiated && { instantiatedAppState: { operationalState: instance.operationalState } }),
    "x-offramp": {
      configured: instance.configured,
      ready: instance.ready,
      external: instance.external,
      addresses: instance.addresses,
      ...(terminating && {
        terminating: { operationAction: terminating.operationAction, deadline: timeStamp(terminating.deadline) },
      }),
      ...(exit && {
        exit: { reason: exit.reason, time: timeStamp(exit.time), ...(exit.code !== undefined && { code: exit.code }) },
      }),
    },
    _links: {
      self: link(base, self),
      ...(instantiated
        ? { terminate: link(base, `${self}/terminate`), operate: link(base, `${self}/operate`) }
        : { instantiate: link(base, `${self}/instantiate`) }),
      configure_platform_for_app: link(base, `${self}/configure_platform_for_app`),
    },
  };
}

export const operationPath = (id: string): string => `${lcmRoot}/app_lcm_op_occs/${id}`;

export function operationInfo(operation: Operation, base: string): AppLcmOpOcc {
  return {
    id: operation.id,
    operationState: operation.state,
    stateEnteredTime: timeStamp(operation.entered),
    startTime: timeStamp(operation.started),
    lcmOperation: operation.kind,
    operationParams: operation.params,
    isCancelPending: operation.cancel !== undefined,
    ...(operation.cancel && { cancelMode: operation.cancel }),
    ...(operation.error && { error: operation.error }),
    _links: {
      self: link(base, operationPath(operation.id)),
      appInstance: link(base, `${lcmRoot}/app_instances/${encodeURIComponent(operation.instance)}`),
    },
  };
}
