// The door `entra`: the platform turns away who brings no token of this tenant for this API, before a
// function runs. Which role a caller needs is checked again in code. The webhooks of Partner Center and
// Dataverse send a function key and no token, so their paths are let through to be asked for the key.

param appName string

@description('False: the door `key`. Deployed all the same, so that going back to keys goes back.')
param enabled bool

@description('Client id of the app registration that stands for the API.')
param apiClientId string

@description('Audiences of tokens beside the client id.')
param audiences string[]

param tenantId string

resource app 'Microsoft.Web/sites@2024-11-01' existing = {
  name: appName
}

resource door 'Microsoft.Web/sites/config@2024-11-01' = {
  parent: app
  name: 'authsettingsV2'
  properties: {
    platform: { enabled: enabled }
    globalValidation: {
      requireAuthentication: enabled
      unauthenticatedClientAction: enabled ? 'Return401' : 'AllowAnonymous'
      excludedPaths: ['/api/alive', '/api/dataverse-events', '/api/partner-center-events']
    }
    httpSettings: { requireHttps: true }
    identityProviders: {
      azureActiveDirectory: {
        enabled: enabled
        registration: {
          clientId: apiClientId
          openIdIssuer: '${environment().authentication.loginEndpoint}${tenantId}/v2.0'
        }
        validation: { allowedAudiences: audiences }
      }
    }
    login: { tokenStore: { enabled: false } }
  }
}
