// The whole worker in one resource group. Deploy it again at any time: names and assignments come from
// what they mean, settings are whole, and nothing that holds data is replaced. Not while a run works:
// new settings restart the app, and its messages are then worked a second time.
targetScope = 'resourceGroup'

@description('Which of your environments this is, such as dev, test or prod; part of most names.')
@minLength(2)
@maxLength(12)
param environmentName string

param location string = resourceGroup().location

@description('First part of all names: lower-case letters and digits.')
@minLength(2)
@maxLength(7)
param prefix string = 'cspbill'

param tags object = {}

// --- what the worker speaks to ---------------------------------------------------------------------

@description('Client id of the app registration that is consented to at Partner Center.')
@minLength(36)
@maxLength(36)
param clientId string

@description('Address of the Dataverse environment, such as https://contoso.crm4.dynamics.com.')
@minLength(12)
param dataverseUrl string

@description('The partner tenant; left out: that of this subscription.')
param tenantId string = tenant().tenantId

@description('Whose calendar decides which day it is when one bills, such as Europe/Berlin.')
param timeZone string = 'UTC'

@description('From this day on the month before is billed; a contract may name another.')
@minValue(1)
@maxValue(28)
param billDay int = 9

@description('Name of a secret in the Key Vault that holds a client secret; left out: the identity signs in for the app registration, and there is no secret.')
param clientSecretName string = ''

// --- the door --------------------------------------------------------------------------------------

@description('Who may call over HTTP: who has a function key, or who has a token with an app role.')
@allowed(['key', 'entra'])
param httpDoor string = 'key'

@description('Client id of the app registration that stands for the API; needed for the door entra.')
param apiClientId string = clientId

@description('Object ids of those who may start runs by a message on the queue start.')
param queueSenders string[] = []

// --- size, redundancy, retention -------------------------------------------------------------------

@allowed(['Standard_LRS', 'Standard_ZRS', 'Standard_GRS', 'Standard_GZRS'])
param archiveRedundancy string = 'Standard_ZRS'

@description('Days after which raw payloads move to the cool tier.')
param archiveCoolAfterDays int = 90

@description('Days after which payloads, reports and messages that were put aside are deleted, with their versions; 0: never.')
param archiveDeleteAfterDays int = 0

@description('Days for which a deleted or overwritten payload can be brought back.')
param undeleteDays int = 30

@description('Megabytes of an instance; usage of a large partner wants 4096.')
@allowed([2048, 4096])
param memoryMegabytes int = 2048

@description('Most instances of each function: Partner Center and Dataverse limit what more would bring.')
param maximumInstances int = 40

param logRetentionDays int = 90

@description('Most gigabytes of logs in a day; -1: no limit.')
param logDailyGigabytes int = 5

// --- network ---------------------------------------------------------------------------------------

@description('public: storage and vault are open to identities with a role. private: from this network only.')
@allowed(['public', 'private'])
param network string = 'public'

@description('Addresses of the network when private, a /24 or larger.')
param addressSpace string = '10.83.0.0/24'

@description('Public addresses of administrators who reach vault and archive when the network is private.')
param adminAddresses string[] = []

// --- who is told -----------------------------------------------------------------------------------

@description('Mail addresses that alerts and the budget go to; empty: alerts are seen in the portal alone.')
param alertEmails string[] = []

@description('Money a month, in the currency of the subscription, that is worth a mail; 0: no budget.')
param budgetAmount int = 0

@description('First day of the month in which the budget is made, as YYYY-MM-01. Azure takes no past month for a new budget and no other month for one that is there: leave it empty to leave the budget alone.')
param budgetStart string = ''

// --- settings --------------------------------------------------------------------------------------

@secure()
@description('Further settings by name (infra/settings.md); they win. Only what stands here survives a deployment.')
param extraSettings object = {}

var token = uniqueString(resourceGroup().id)
var named = '${prefix}-${environmentName}-${token}'
var labels = union({ product: 'csp-billing', environment: environmentName, 'azd-env-name': environmentName }, tags)
var archive = 'archive'
var packages = 'packages'
var closed = network == 'private'

// One queue for each kind of work, and one for what of it was given up.
var kinds = ['start', 'pull', 'bill', 'close', 'event', 'handoff', 'feedback', 'report']
var queues = concat(kinds, map(kinds, kind => '${kind}-poison'))

module identity 'modules/identity.bicep' = {
  name: 'identity'
  params: {
    name: 'id-${named}'
    location: location
    tags: labels
  }
}

module monitoring 'modules/monitoring.bicep' = {
  name: 'monitoring'
  params: {
    workspaceName: 'log-${named}'
    componentName: 'appi-${named}'
    location: location
    tags: labels
    retentionDays: logRetentionDays
    dailyGigabytes: logDailyGigabytes
  }
}

module hostStorage 'modules/storage.bicep' = {
  name: 'host-storage'
  params: {
    name: take('${prefix}host${token}', 24)
    location: location
    tags: labels
    sku: 'Standard_LRS'
    containers: [packages]
    closed: closed
    adminAddresses: adminAddresses
  }
}

module workStorage 'modules/storage.bicep' = {
  name: 'work-storage'
  params: {
    name: take('${prefix}work${token}', 24)
    location: location
    tags: labels
    sku: archiveRedundancy
    containers: [archive]
    queues: queues
    versions: true
    undeleteDays: undeleteDays
    closed: closed
    adminAddresses: adminAddresses
  }
}

module archived 'modules/archive.bicep' = {
  name: 'archive'
  params: {
    accountName: workStorage.outputs.name
    archive: archive
    workspaceId: monitoring.outputs.workspaceId
    coolAfterDays: archiveCoolAfterDays
    deleteAfterDays: archiveDeleteAfterDays
  }
}

module vault 'modules/key-vault.bicep' = {
  name: 'key-vault'
  params: {
    name: take('kv-${prefix}-${token}', 24)
    location: location
    tags: labels
    workspaceId: monitoring.outputs.workspaceId
    closed: closed
    adminAddresses: adminAddresses
  }
}

module roles 'modules/roles.bicep' = {
  name: 'roles'
  params: {
    principalId: identity.outputs.principalId
    hostAccountName: hostStorage.outputs.name
    workAccountName: workStorage.outputs.name
    archive: archive
    vaultName: vault.outputs.name
    componentName: monitoring.outputs.componentName
    queueSenders: queueSenders
  }
}

module net 'modules/network.bicep' = if (closed) {
  name: 'network'
  params: {
    name: 'vnet-${named}'
    location: location
    tags: labels
    addressSpace: addressSpace
  }
}

module endpoints 'modules/private-endpoints.bicep' = if (closed) {
  name: 'private-endpoints'
  params: {
    prefix: 'pe-${named}'
    location: location
    tags: labels
    networkId: closed ? net!.outputs.networkId : ''
    subnetId: closed ? net!.outputs.endpointSubnetId : ''
    targets: [
      { name: 'host-blob', id: hostStorage.outputs.id, service: 'blob' }
      { name: 'host-table', id: hostStorage.outputs.id, service: 'table' }
      { name: 'work-blob', id: workStorage.outputs.id, service: 'blob' }
      { name: 'work-queue', id: workStorage.outputs.id, service: 'queue' }
      { name: 'vault', id: vault.outputs.id, service: 'vault' }
    ]
  }
}

// UTC, six fields: seconds first. A timer only asks; late, doubled or missed ones do no harm, because the
// ledger knows what is done. The order of a morning: prices and access before the sync, bills after it.
var schedules = {
  PRICES_SCHEDULE: '0 0 4 * * *'
  ACCESS_SCHEDULE: '0 30 4 * * *'
  SYNC_SCHEDULE: '0 0 5 * * *'
  USAGE_SCHEDULE: '0 0 6 * * *'
  RENEWALS_SCHEDULE: '0 30 6 * * *'
  BILL_SCHEDULE: '0 0 7 * * *'
  HANDOFF_SCHEDULE: '0 15 * * * *'
  FEEDBACK_SCHEDULE: '0 45 * * * *'
  HEALTH_SCHEDULE: '0 0 8 * * 1'
  REQUESTS_SCHEDULE: '0 * * * * *'
  WATCH_SCHEDULE: '0 */15 * * * *'
}

// Azure drops no empty setting, and an empty name is no name.
var credential = empty(clientSecretName) ? { CSP_FEDERATED: 'true' } : { CSP_CLIENT_SECRET_NAME: clientSecretName }

var settings = {
  CSP_MODE: 'cloud'
  CSP_TENANT_ID: tenantId
  CSP_CLIENT_ID: clientId
  CSP_DATAVERSE_URL: dataverseUrl
  CSP_KEY_VAULT_URL: vault.outputs.url
  CSP_MANAGED_IDENTITY_CLIENT_ID: identity.outputs.clientId
  CSP_STORAGE_ACCOUNT_URL_BLOB: workStorage.outputs.blobUrl
  CSP_STORAGE_ACCOUNT_URL_QUEUE: workStorage.outputs.queueUrl
  CSP_ARCHIVE_CONTAINER: archive
  CSP_HTTP_DOOR: httpDoor
  CSP_HTTP_AUDIENCE: apiClientId
  CSP_TIME_ZONE: timeZone
  CSP_BILL_DAY: string(billDay)
}

module worker 'modules/function-app.bicep' = {
  name: 'function-app'
  params: {
    name: 'func-${named}'
    planName: 'plan-${named}'
    location: location
    tags: labels
    identityId: identity.outputs.id
    identityClientId: identity.outputs.clientId
    componentName: monitoring.outputs.componentName
    packageUrl: '${hostStorage.outputs.blobUrl}${packages}'
    hostStorage: {
      blobUrl: hostStorage.outputs.blobUrl
      queueUrl: hostStorage.outputs.queueUrl
      tableUrl: hostStorage.outputs.tableUrl
    }
    queueUrl: workStorage.outputs.queueUrl
    subnetId: closed ? net!.outputs.appSubnetId : ''
    memoryMegabytes: memoryMegabytes
    maximumInstances: maximumInstances
    settings: union(schedules, settings, credential, extraSettings)
  }
  // The app starts as its identity, which must be let in by then.
  dependsOn: [roles, endpoints]
}

module door 'modules/auth.bicep' = {
  name: 'door'
  params: {
    appName: worker.outputs.name
    enabled: httpDoor == 'entra'
    apiClientId: apiClientId
    audiences: [apiClientId, 'api://${apiClientId}']
    tenantId: tenantId
  }
}

module alerts 'modules/alerts.bicep' = {
  name: 'alerts'
  params: {
    prefix: named
    location: location
    tags: labels
    componentId: monitoring.outputs.componentId
    emails: alertEmails
    budgetAmount: budgetAmount
    budgetStart: budgetStart
  }
}

output workerName string = worker.outputs.name
output workerUrl string = worker.outputs.url
output identityName string = identity.outputs.name
output identityClientId string = identity.outputs.clientId
output identityPrincipalId string = identity.outputs.principalId
output keyVaultName string = vault.outputs.name
output archiveAccount string = workStorage.outputs.name
