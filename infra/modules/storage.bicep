// One storage account without keys: only identities with a role get in. Used twice: the host keeps its
// leases, function keys and the package in one; the queues and the archive of payloads are in the other.

param name string
param location string
param tags object

@description('Redundancy, such as Standard_ZRS: three zones of one region.')
param sku string

param containers string[]
param queues string[] = []

@description('Keep what was overwritten or deleted as versions: for what must be proved later.')
param versions bool = false

@description('For how many days a deleted blob, container or version can be brought back.')
@minValue(7)
@maxValue(365)
param undeleteDays int = 30

@description('Close the public address; who is listed in adminAddresses still gets in.')
param closed bool

@description('Public IP addresses or ranges of administrators; used when the account is closed.')
param adminAddresses string[] = []

resource account 'Microsoft.Storage/storageAccounts@2025-01-01' = {
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: { name: sku }
  properties: {
    accessTier: 'Hot'
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: closed && empty(adminAddresses) ? 'Disabled' : 'Enabled'
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: closed ? 'Deny' : 'Allow'
      ipRules: [for address in adminAddresses: { value: address, action: 'Allow' }]
      virtualNetworkRules: []
    }
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2025-01-01' = {
  parent: account
  name: 'default'
  properties: {
    isVersioningEnabled: versions
    deleteRetentionPolicy: { enabled: true, days: undeleteDays }
    containerDeleteRetentionPolicy: { enabled: true, days: undeleteDays }
  }
}

resource container 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-01-01' = [
  for one in containers: {
    parent: blobs
    name: one
    properties: { publicAccess: 'None' }
  }
]

resource queueService 'Microsoft.Storage/storageAccounts/queueServices@2025-01-01' = if (!empty(queues)) {
  parent: account
  name: 'default'
}

resource queue 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-01-01' = [
  for one in queues: {
    parent: queueService
    name: one
  }
]

output name string = account.name
output id string = account.id
output blobUrl string = account.properties.primaryEndpoints.blob
output queueUrl string = account.properties.primaryEndpoints.queue
output tableUrl string = account.properties.primaryEndpoints.table
