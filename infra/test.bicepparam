using './main.bicep'

// As prod, with a Partner Center sandbox and a Dataverse sandbox, smaller and from the open network.
param environmentName = 'test'
param clientId = readEnvironmentVariable('CSP_CLIENT_ID')
param dataverseUrl = readEnvironmentVariable('CSP_DATAVERSE_URL')
param alertEmails = empty(readEnvironmentVariable('ALERT_EMAILS', '')) ? [] : split(readEnvironmentVariable('ALERT_EMAILS', ''), ',')
param archiveRedundancy = 'Standard_LRS'
param maximumInstances = 20
param logRetentionDays = 30
param logDailyGigabytes = 2
