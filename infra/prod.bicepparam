using './main.bicep'

// What bills customers: three zones, a year to bring payloads back, storage and vault from inside only.
param environmentName = 'prod'
param clientId = readEnvironmentVariable('CSP_CLIENT_ID')
param dataverseUrl = readEnvironmentVariable('CSP_DATAVERSE_URL')
// Somebody is told: without it nothing is deployed.
param alertEmails = split(readEnvironmentVariable('ALERT_EMAILS'), ',')
param archiveRedundancy = 'Standard_ZRS'
param undeleteDays = 365
param memoryMegabytes = 4096
param network = 'private'
// Who puts the refresh token into the vault from outside, while doing so.
param adminAddresses = empty(readEnvironmentVariable('ADMIN_ADDRESSES', '')) ? [] : split(readEnvironmentVariable('ADMIN_ADDRESSES', ''), ',')
param logRetentionDays = 180
param logDailyGigabytes = 10
