// The worker on Flex Consumption: the platform adds instances while messages wait, and takes them away.
// Its settings are replaced as a whole by every deployment, so all of them are here or in `settings`.

param name string
param planName string
param location string
param tags object

param identityId string
param identityClientId string
param componentName string

@description('Blob container that holds the deployed package; changing it breaks the start of the app.')
param packageUrl string

@description('Addresses of the storage account in which the host keeps its leases and keys.')
param hostStorage { blobUrl: string, queueUrl: string, tableUrl: string }

@description('Address of the storage account with the queues.')
param queueUrl string

@description('Subnet for calls to the outside; empty: none.')
param subnetId string

@allowed([2048, 4096])
param memoryMegabytes int

@minValue(1)
@maxValue(1000)
param maximumInstances int

@secure()
@description('All settings of the worker beside those of the host.')
param settings object

resource component 'Microsoft.Insights/components@2020-02-02' existing = {
  name: componentName
}

resource plan 'Microsoft.Web/serverfarms@2024-11-01' = {
  name: planName
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true
  }
}

resource app 'Microsoft.Web/sites@2024-11-01' = {
  name: name
  location: location
  tags: union(tags, { 'azd-service-name': 'worker' })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identityId}': {} }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    // Partner Center, Dataverse and flows call from outside; who may call is decided at the door.
    publicNetworkAccess: 'Enabled'
    keyVaultReferenceIdentity: identityId
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: packageUrl
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityId
          }
        }
      }
      runtime: {
        name: 'python'
        version: '3.13'
      }
      scaleAndConcurrency: {
        instanceMemoryMB: memoryMegabytes
        maximumInstanceCount: maximumInstances
      }
    }
    siteConfig: {
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      ftpsState: 'Disabled'
      http20Enabled: true
      remoteDebuggingEnabled: false
    }
  }

  // Deployments sign in by Entra; there is no publish profile.
  resource scm 'basicPublishingCredentialsPolicies' = {
    name: 'scm'
    properties: { allow: false }
  }

  resource ftp 'basicPublishingCredentialsPolicies' = {
    name: 'ftp'
    properties: { allow: false }
  }

  resource appSettings 'config' = {
    name: 'appsettings'
    properties: union(
      {
        AzureWebJobsStorage__blobServiceUri: hostStorage.blobUrl
        AzureWebJobsStorage__queueServiceUri: hostStorage.queueUrl
        AzureWebJobsStorage__tableServiceUri: hostStorage.tableUrl
        AzureWebJobsStorage__credential: 'managedidentity'
        AzureWebJobsStorage__clientId: identityClientId
        WORKER_QUEUE__queueServiceUri: queueUrl
        WORKER_QUEUE__credential: 'managedidentity'
        WORKER_QUEUE__clientId: identityClientId
        // An address and a name, no secret: the component takes telemetry from identities only.
        APPLICATIONINSIGHTS_CONNECTION_STRING: component.properties.ConnectionString
        APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identityClientId};Authorization=AAD'
        // The worker tells for itself (app/exporters.py): the platform's does not pass its lines on.
        PYTHON_ENABLE_OPENTELEMETRY: 'true'
        AZURE_CLIENT_ID: identityClientId
        // At least batchSize + newBatchThreshold of host.json: each queue has instances of its own.
        PYTHON_THREADPOOL_THREAD_COUNT: '16'
      },
      settings
    )
  }
}

output name string = app.name
output url string = 'https://${app.properties.defaultHostName}'
