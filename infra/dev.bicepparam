using './main.bicep'

// To try changes in: one copy of everything, little logging, gone payloads are back for a week.
param environmentName = 'dev'
param clientId = readEnvironmentVariable('CSP_CLIENT_ID')
param dataverseUrl = readEnvironmentVariable('CSP_DATAVERSE_URL')
param alertEmails = empty(readEnvironmentVariable('ALERT_EMAILS', '')) ? [] : split(readEnvironmentVariable('ALERT_EMAILS', ''), ',')
param archiveRedundancy = 'Standard_LRS'
param archiveDeleteAfterDays = 90
param archiveCoolAfterDays = 30
param undeleteDays = 7
param maximumInstances = 10
param logRetentionDays = 30
param logDailyGigabytes = 1
