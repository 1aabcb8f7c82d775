/**
 * Which attribute of a VNFD is which of an AppD?
 *
 * Seed 000, Table 3 (from ETSI GR MEC 017), row by row: VNFD of ETSI GS NFV-IFA 011 §7.1.2, AppD of GS MEC 010-2 §6.2.1. Where one
 * side of a row is empty, the other side's attribute cannot be carried; the converter names it.
 */
export interface Row {
  vnfd?: string;
  appd?: string;
}

export const table: readonly Row[] = [
  { vnfd: "vnfdId", appd: "appDId" },
  { vnfd: "vnfProvider", appd: "appProvider" },
  { vnfd: "vnfProductName", appd: "appName" },
  { vnfd: "vnfSoftwareVersion", appd: "appSoftVersion" },
  { vnfd: "vnfdVersion", appd: "appDVersion" },
  { appd: "mecVersion" },
  { vnfd: "vnfProductInfoName", appd: "appInfoName" },
  { vnfd: "vnfProductInfoDescription", appd: "appDescription" },
  { vnfd: "vnfmInfo" },
  { vnfd: "localizationLanguage" },
  { vnfd: "defaultLocalizationLanguage" },
  // Of the deployment units only the software images have a counterpart.
  { vnfd: "vdu" },
  { vnfd: "vdu.swImageDescriptor", appd: "swImageDescriptor" },
  { vnfd: "virtualComputeDesc", appd: "virtualComputeDescriptor" },
  { vnfd: "virtualStorageDesc", appd: "virtualStorageDescriptor" },
  { vnfd: "intVirtualLinkDesc" },
  { vnfd: "vnfExtCpd", appd: "appExtCpd" },
  { appd: "appServiceRequired" },
  { appd: "appServiceOptional" },
  { appd: "appServiceProduced" },
  { appd: "appFeatureRequired" },
  { appd: "appFeatureOptional" },
  { appd: "transportDependencies" },
  { appd: "appTrafficRule" },
  { appd: "appDNSRule" },
  { appd: "appLatency" },
  { vnfd: "deploymentFlavour" },
  { vnfd: "deploymentFlavour.vnfLcmOperationsConfiguration" },
  { appd: "terminateAppInstanceOpConfig" },
  { appd: "changeAppInstanceStateOpConfig" },
  { vnfd: "configurableProperties" },
  { vnfd: "modifiableAttributes" },
  { vnfd: "lifeCycleManagementScript" },
  { vnfd: "elementGroup" },
  { vnfd: "vnfIndicator" },
  { vnfd: "autoScale" },
];

/** Attributes that stand for themselves on both sides: no list on one and single on the other. */
export const plain = table.flatMap(({ vnfd, appd }) =>
  vnfd !== undefined && appd !== undefined && !vnfd.includes(".") && vnfd !== "virtualComputeDesc"
    ? [{ vnfd, appd }]
    : [],
);

/** Without these the one is no AppD, the other no VNFD. */
export const required = {
  appd: ["appDId", "appName", "appProvider", "appSoftVersion", "appDVersion", "mecVersion", "appDescription"],
  vnfd: [
    "vnfdId",
    "vnfProvider",
    "vnfProductName",
    "vnfSoftwareVersion",
    "vnfdVersion",
    "vnfmInfo",
    "vdu",
    "virtualComputeDesc",
    "vnfExtCpd",
    "deploymentFlavour",
  ],
};
