using './azd.bicep'

// azd sets the first two; `azd env set CSP_CLIENT_ID ...` the others.
param environmentName = readEnvironmentVariable('AZURE_ENV_NAME')
param location = readEnvironmentVariable('AZURE_LOCATION')
param clientId = readEnvironmentVariable('CSP_CLIENT_ID')
param dataverseUrl = readEnvironmentVariable('CSP_DATAVERSE_URL')
param alertEmails = empty(readEnvironmentVariable('ALERT_EMAILS', '')) ? [] : split(readEnvironmentVariable('ALERT_EMAILS', ''), ',')
