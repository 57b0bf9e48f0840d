// What the worker may do, and where: each right on the one resource that needs it. Names of assignments
// come from what they say, so a second deployment finds them.

param principalId string
param hostAccountName string
param workAccountName string
param archive string
param vaultName string
param componentName string

@description('Object ids of users, groups or applications that may put messages on the queue `start`.')
param queueSenders string[]

var roles = {
  'Storage Blob Data Owner': 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'
  'Storage Blob Data Contributor': 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
  'Storage Table Data Contributor': '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'
  'Storage Queue Data Contributor': '974c5e8b-45b9-4653-ba55-5f855dd0fb88'
  'Storage Queue Data Message Sender': 'c6a89b2d-59bc-44d0-9896-0f6e12d7b80a'
  'Key Vault Secrets Officer': 'b86a8fe4-44ce-4948-aee5-eccb2c155cd7'
  'Monitoring Metrics Publisher': '3913510d-42f4-4e42-8a64-420c390055eb'
}

// The host: leases of timers, function keys and the package in blobs, its diagnostic events in tables.
// It needs no queue of its own here, because no blob triggers a function.
var onHost = ['Storage Blob Data Owner', 'Storage Table Data Contributor']

resource hostAccount 'Microsoft.Storage/storageAccounts@2025-01-01' existing = {
  name: hostAccountName
}

resource workAccount 'Microsoft.Storage/storageAccounts@2025-01-01' existing = {
  name: workAccountName

  resource blobs 'blobServices' existing = {
    name: 'default'

    resource archived 'containers' existing = {
      name: archive
    }
  }

  resource queueService 'queueServices' existing = {
    name: 'default'

    resource start 'queues' existing = {
      name: 'start'
    }
  }
}

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' existing = {
  name: vaultName
}

resource component 'Microsoft.Insights/components@2020-02-02' existing = {
  name: componentName
}

resource host 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for role in onHost: {
    name: guid(hostAccount.id, principalId, roles[role])
    scope: hostAccount
    properties: {
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles[role])
      principalId: principalId
      principalType: 'ServicePrincipal'
    }
  }
]

// Reader, Processor and Sender, which the documentation of the trigger names, are too little: to give a
// failed message back, and to hold one longer, the host updates it, which only the Contributor may.
resource messages 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(workAccount.id, principalId, roles['Storage Queue Data Contributor'])
  scope: workAccount
  properties: {
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roles['Storage Queue Data Contributor']
    )
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}

resource payloads 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(workAccount::blobs::archived.id, principalId, roles['Storage Blob Data Contributor'])
  scope: workAccount::blobs::archived
  properties: {
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roles['Storage Blob Data Contributor']
    )
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}

// The vault is the worker's alone, so the right is on all of it: rotation adds versions of a secret and
// disables old ones, and Azure accepts no right on a secret that is not there yet.
resource secrets 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(vault.id, principalId, roles['Key Vault Secrets Officer'])
  scope: vault
  properties: {
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roles['Key Vault Secrets Officer']
    )
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}

resource telemetry 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(component.id, principalId, roles['Monitoring Metrics Publisher'])
  scope: component
  properties: {
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roles['Monitoring Metrics Publisher']
    )
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}

// A flow that starts runs by a message: it may put one on `start` and read none.
resource senders 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for sender in queueSenders: {
    name: guid(workAccount::queueService::start.id, sender, roles['Storage Queue Data Message Sender'])
    scope: workAccount::queueService::start
    properties: {
      roleDefinitionId: subscriptionResourceId(
        'Microsoft.Authorization/roleDefinitions',
        roles['Storage Queue Data Message Sender']
      )
      principalId: sender
    }
  }
]
