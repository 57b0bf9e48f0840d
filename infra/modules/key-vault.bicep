// The partner's refresh token, rotated by the worker, and secrets that a person puts in once. No value
// comes from here: an administrator or the worker writes it.

param name string
param location string
param tags object
param workspaceId string

@description('Close the public address; who is listed in adminAddresses still gets in.')
param closed bool

@description('Public IP addresses or ranges of administrators; used when the vault is closed.')
param adminAddresses string[] = []

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    tenantId: tenant().tenantId
    sku: { family: 'A', name: 'standard' }
    enableRbacAuthorization: true
    enableSoftDelete: true
    enablePurgeProtection: true
    softDeleteRetentionInDays: 90
    publicNetworkAccess: closed && empty(adminAddresses) ? 'Disabled' : 'Enabled'
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: closed ? 'Deny' : 'Allow'
      ipRules: [for address in adminAddresses: { value: address }]
      virtualNetworkRules: []
    }
  }
}

resource audit 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'audit'
  scope: vault
  properties: {
    workspaceId: workspaceId
    logs: [{ categoryGroup: 'audit', enabled: true }]
  }
}

output name string = vault.name
output id string = vault.id
output url string = vault.properties.vaultUri
