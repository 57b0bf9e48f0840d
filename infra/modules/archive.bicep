// What becomes of old payloads. The archive proves past months, so nothing of it is deleted unless a
// parameter says so; only claims (message bodies that were too large for a queue) are short-lived, and
// what a place was before it was overwritten each minute. What is deleted under versioning stays as a
// version until a rule for versions takes that, too; soft delete keeps it for `undeleteDays` more.

param accountName string
param archive string
param workspaceId string

@description('Days after which claims are deleted; a message lives for 7.')
@minValue(8)
param claimDays int = 30

@description('Days after which raw payloads move to the cool tier: cheaper to keep, dearer to read.')
@minValue(1)
param coolAfterDays int

@description('Days after which payloads, reports and messages that were put aside are deleted; 0: never.')
@minValue(0)
param deleteAfterDays int

resource account 'Microsoft.Storage/storageAccounts@2025-01-01' existing = {
  name: accountName

  resource blobs 'blobServices' existing = {
    name: 'default'
  }
}

var cool = { tierToCool: { daysAfterModificationGreaterThan: coolAfterDays } }
var gone = { delete: { daysAfterModificationGreaterThan: deleteAfterDays } }
var goneVersions = { delete: { daysAfterCreationGreaterThan: deleteAfterDays } }
var deletes = deleteAfterDays > 0

// What people read, so it is never cool: a rule of its own, which without days to delete after does nothing.
var aside = {
  name: 'aside'
  enabled: true
  type: 'Lifecycle'
  definition: {
    filters: {
      blobTypes: ['blockBlob']
      prefixMatch: ['${archive}/reports/', '${archive}/poison/']
    }
    actions: { baseBlob: gone, version: goneVersions }
  }
}

resource policy 'Microsoft.Storage/storageAccounts/managementPolicies@2025-01-01' = {
  parent: account
  name: 'default'
  properties: {
    policy: {
      rules: concat([
        {
          name: 'claims'
          enabled: true
          type: 'Lifecycle'
          definition: {
            filters: {
              blobTypes: ['blockBlob']
              prefixMatch: ['${archive}/claims/']
            }
            actions: {
              baseBlob: { delete: { daysAfterModificationGreaterThan: claimDays } }
              version: { delete: { daysAfterCreationGreaterThan: claimDays } }
            }
          }
        }
        {
          name: 'raw'
          enabled: true
          type: 'Lifecycle'
          definition: {
            filters: {
              blobTypes: ['blockBlob']
              prefixMatch: ['${archive}/raw/', '${archive}/invoices/']
            }
            actions: union({ baseBlob: deletes ? union(cool, gone) : cool }, deletes ? { version: goneVersions } : {})
          }
        }
        {
          name: 'looks'
          enabled: true
          type: 'Lifecycle'
          definition: {
            filters: {
              blobTypes: ['blockBlob']
              prefixMatch: ['${archive}/requests/', '${archive}/feedback/']
            }
            actions: { version: { delete: { daysAfterCreationGreaterThan: claimDays } } }
          }
        }
      ], deletes ? [aside] : [])
    }
  }
}

// Who deleted what. Reads and writes are left out: there are many, and versions keep what was there.
resource deletions 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'deletions'
  scope: account::blobs
  properties: {
    workspaceId: workspaceId
    logs: [{ category: 'StorageDelete', enabled: true }]
  }
}
