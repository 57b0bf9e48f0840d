// Who the worker is, everywhere: storage, Key Vault, telemetry, Dataverse and the token exchange of the
// app registration. Made apart from the app, so that a new app keeps its roles and its Dataverse user.

param name string
param location string
param tags object

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: name
  location: location
  tags: tags
}

output name string = identity.name
output id string = identity.id
output clientId string = identity.properties.clientId
output principalId string = identity.properties.principalId
