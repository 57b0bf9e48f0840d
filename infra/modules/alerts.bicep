// Who is told what. The questions are the .kql files of infra/alerts, each with its runbook in
// docs/operations.md; the budget says when the worker itself becomes dear.

param prefix string
param tags object

@description('Mail addresses; empty: alerts are seen in the portal alone.')
param emails string[]

param budgetAmount int

@description('First of a month as YYYY-MM-01; empty: the budget is left as it is, or is not made.')
param budgetStart string

resource group 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: 'ag-${prefix}'
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'CSP billing'
    enabled: true
    emailReceivers: [
      for (email, index) in emails: {
        name: 'mail-${index}'
        emailAddress: email
        useCommonAlertSchema: true
      }
    ]
  }
}

// Azure refuses a new budget that begins in a past month, and any other beginning for one that is there.
resource budget 'Microsoft.Consumption/budgets@2023-11-01' = if (budgetAmount > 0 && !empty(budgetStart)) {
  name: 'budget-${prefix}'
  properties: {
    category: 'Cost'
    amount: budgetAmount
    timeGrain: 'Monthly'
    timePeriod: { startDate: '${budgetStart}T00:00:00Z' }
    notifications: {
      most: {
        enabled: true
        operator: 'GreaterThanOrEqualTo'
        threshold: 80
        thresholdType: 'Actual'
        contactEmails: emails
        contactGroups: [group.id]
      }
      beyond: {
        enabled: true
        operator: 'GreaterThan'
        threshold: 100
        thresholdType: 'Forecasted'
        contactEmails: emails
        contactGroups: [group.id]
      }
    }
  }
}
