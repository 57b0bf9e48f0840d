// The way in for azd, which makes the resource group itself: `azd up`. Everything else is main.bicep.
targetScope = 'subscription'

@minLength(2)
@maxLength(12)
param environmentName string
param location string
param clientId string
param dataverseUrl string
param alertEmails string[] = []

resource group 'Microsoft.Resources/resourceGroups@2024-11-01' = {
  name: 'rg-csp-billing-${environmentName}'
  location: location
  tags: { 'azd-env-name': environmentName, product: 'csp-billing' }
}

module main 'main.bicep' = {
  name: 'csp-billing'
  scope: group
  params: {
    environmentName: environmentName
    location: location
    clientId: clientId
    dataverseUrl: dataverseUrl
    alertEmails: alertEmails
  }
}

// azd keeps these as variables, and hands them to its hooks.
output AZURE_TENANT_ID string = tenant().tenantId
output AZURE_RESOURCE_GROUP string = group.name
output WORKER_NAME string = main.outputs.workerName
output WORKER_URL string = main.outputs.workerUrl
output WORKER_IDENTITY_CLIENT_ID string = main.outputs.identityClientId
output WORKER_IDENTITY_PRINCIPAL_ID string = main.outputs.identityPrincipalId
output WORKER_KEY_VAULT string = main.outputs.keyVaultName
