"""The checks before anything is billed: relationship, agreement, contract; place and currency; tax."""

from __future__ import annotations

from rules.check import Room, hold, of_room, warn

_NO_TAX = "without it the tax is not known"

GATE = of_room(
    Room.GATE,
    hold(
        "relationship.not_reseller",
        "whether the tenant is still our reseller customer",
        "ask the customer to accept the reseller invitation, or end the contract",
    ),
    warn(
        "access.stale",
        "whether the customer could be read whole lately; holds after CSP_STALE_DAYS",
        "restore the access to the customer, then run sync",
    ),
    warn(
        "access.unread",
        "whether a customer that is listed was ever read whole",
        "run sync; if it stays, look for the customer in Partner Center",
    ),
    hold(
        "agreement.missing",
        "whether the Microsoft Customer Agreement was accepted; the older one does not count",
        "attest the acceptance in Partner Center, or ask the customer to sign with Microsoft",
    ),
    warn(
        "agreement.undated",
        "whether the acceptance of the agreement has a date",
        "attest the agreement with its date in Partner Center",
    ),
    warn(
        "agreement.outdated",
        "whether the newest version of the agreement was accepted",
        "ask the customer to accept the newest version, and attest it in Partner Center",
    ),
    warn(
        "agreement.version_unknown",
        "whether Microsoft lists the version of the agreement that was accepted",
        "ask the customer to accept the newest version, and attest it in Partner Center",
    ),
    warn(
        "reseller_agreement.missing",
        "whether the indirect reseller has signed the Microsoft Partner Agreement",
        "ask the reseller to sign it in its own Partner Center",
    ),
    warn(
        "reseller_agreement.unknown",
        "whether Microsoft says who the indirect resellers are and what they signed",
        "ask the reseller; its id may be wrong, or not migrated at Microsoft",
    ),
    hold(
        "gdap.missing",
        "whether a delegated admin relationship is active today",
        "send the customer a new GDAP request and have it approved",
    ),
    hold(
        "gdap.no_assignment",
        "whether a security group has access by the relationship",
        "assign a security group to the relationship in Partner Center",
    ),
    hold(
        "gdap.roles_missing",
        "whether groups hold the roles that CSP_REQUIRED_ROLES asks for",
        "give a security group the role in the relationship's access assignment",
    ),
    hold(
        "gdap.roles_unknown",
        "whether the roles of the groups are known, where some are required",
        "run sync: it reads the roles of each group",
    ),
    warn(
        "gdap.expiring",
        "whether the relationship ends soon and does not extend itself",
        "renew the relationship, or switch its automatic extension on",
    ),
    warn(
        "gdap.not_extended",
        "whether a relationship that ends in some months extends itself",
        "switch its automatic extension on in Partner Center",
    ),
    warn(
        "gdap.end_unknown",
        "whether Microsoft says when the relationship ends",
        "look up its end in Partner Center, and renew it in time",
    ),
    hold(
        "mapping.no_contract",
        "whether the customer has a billing contract",
        "make a billing contract for the customer and choose its account",
        "there is no contract to bill by",
    ),
    hold(
        "mapping.no_account",
        "whether the contract names the account that is billed",
        "choose the account on the billing contract",
        "there is nobody to send the invoice to",
    ),
    hold(
        "mapping.contract_ended",
        "whether the contract is in force in the month",
        "renew the contract, or move the subscriptions away",
        "after its end there is no contract to bill by",
    ),
    warn(
        "mapping.outside_contract",
        "whether the contract is in force when what Microsoft bills is served",
        "move the contract's first or last day, or bill these days in another way",
    ),
    hold(
        "mapping.several_contracts",
        "whether one contract alone is in force on each day",
        "let the older contract end, and the newer one begin, on the first of a month",
    ),
    hold(
        "mapping.contract_changed",
        "whether a contract that follows another within a month leaves days unbilled",
        "let the older contract end, and the newer one begin, on the first of a month",
    ),
    hold(
        "mapping.account_gone",
        "whether the account that is billed can be read",
        "choose the account that is billed on the billing contract",
        "there is nobody to send the invoice to",
    ),
    hold(
        "mapping.account_inactive",
        "whether the account that is billed is active",
        "activate the account, or choose another one on the billing contract",
    ),
    hold(
        "mapping.account_differs",
        "whether contract and customer name the same account",
        "choose the same account on the billing contract and on the CSP customer",
    ),
    warn(
        "mapping.no_subscriptions",
        "whether the customer of a contract has anything to bill",
        "end the contract, or check whether it names the right customer",
    ),
    hold(
        "qualification.missing",
        "whether what is sold at a special price has its approved qualification",
        "complete the qualification in Partner Center, or move the customer to commercial products",
    ),
    warn(
        "qualification.unknown",
        "whether Microsoft says at which segment's price a qualified customer buys",
        "compare the product's segment in Partner Center with the qualification",
    ),
    warn(
        "partner_of_record.differs",
        "whether Microsoft's lines name the reseller of their subscription",
        "check since when the partner of record is another, and who is paid for the month",
    ),
    warn(
        "partner_of_record.unknown",
        "whether any partner is named where one is expected",
        "look up the partner of record in Partner Center, or clear the contract's expectation",
    ),
    hold(
        "partner_of_record.drift",
        "whether the partner on subscriptions and on Microsoft's lines is the expected one",
        "correct the partner of record in Partner Center, or the contract's expectation",
    ),
)

ADDRESS = of_room(
    Room.TAX,
    hold(
        "address.none",
        "whether the account that is billed has an address",
        "enter the address of the account in Dynamics (Address 1)",
    ),
    warn(
        "address.by_microsoft",
        "whether an account has an address with a country, where tax profile and Microsoft agree on one",
        "enter the address of the account in Dynamics (Address 1)",
    ),
    hold(
        "address.incomplete",
        "whether the account's address has what its country's invoices and taxes need",
        "complete the address of the account in Dynamics (Address 1)",
    ),
    hold(
        "address.unmapped",
        "whether country and, where the tax depends on it, region of account and tax profile are known",
        "write the country as its name or two letters, the state or province as its name or code",
    ),
    hold(
        "address.region_differs",
        "whether the tax profile is for where the account is",
        "correct country and region of the tax profile, or the address of the account",
    ),
    hold(
        "address.postal_code",
        "whether the postal code of the account lies where another tax is charged than stated",
        "correct the postal code or the state of the account in Dynamics (Address 1)",
    ),
    warn(
        "address.postal_form",
        "whether the postal code of the account is one of its country and region",
        "correct the postal code of the account in Dynamics (Address 1)",
    ),
    hold(
        "address.microsoft_differs",
        "whether Microsoft's profiles say a place with the account's tax",
        "find out where the customer is; correct the account, or the profile at Microsoft",
    ),
    warn(
        "address.microsoft_region",
        "whether Microsoft's profiles say the account's country and region, where the tax is the same",
        "correct the account, or the profile at Microsoft",
    ),
    warn(
        "address.microsoft_unmapped",
        "whether country and region of Microsoft's profiles are known, to be compared",
        "correct the profile at Microsoft",
    ),
    hold(
        "currency.incomplete",
        "whether the contract has a currency of ISO 4217",
        "choose the currency of the invoices on the billing contract, by its code",
        "an invoice needs a currency",
    ),
    warn(
        "currency.differs",
        "whether a rate is known where Microsoft bills in another currency than the contract",
        "enter an exchange rate, or agree prices in the contract's currency",
    ),
    warn(
        "currency.account_differs",
        "whether the account in Dynamics has the contract's currency",
        "correct the currency of the account, or that of the billing contract",
    ),
)

TAX = of_room(
    Room.TAX,
    hold(
        "tax.no_profile",
        "whether the contract has a tax profile",
        "give the billing contract a tax profile",
        _NO_TAX,
    ),
    hold(
        "tax.lapsed",
        "whether an exemption or its evidence is in force on the tax point",
        "ask the customer for a new certificate, or charge the standard tax",
        _NO_TAX,
    ),
    hold(
        "tax.no_evidence",
        "whether a treatment other than standard has its number or certificate",
        "enter the VAT number or the certificate on the tax profile",
        _NO_TAX,
    ),
    hold(
        "tax.unmapped_country",
        "whether the countries are known to the table of tax rates",
        "correct the country, or add its rate to the table of tax rates",
        _NO_TAX,
    ),
    hold(
        "tax.unmapped_region",
        "whether the region is known where the tax depends on it",
        "give the customer's state or province, or add its rate",
        _NO_TAX,
    ),
    hold(
        "tax.no_rate",
        "whether a rate is known on the tax point",
        "add the rate of that day to the table of tax rates",
        _NO_TAX,
    ),
    hold(
        "tax.own_rules",
        "whether the place has tax rules of its own",
        "ask your accountant, and add the rate to the table of tax rates",
        _NO_TAX,
    ),
    hold(
        "tax.vat_country",
        "whether VAT number and country belong together",
        "correct the country or the number: they decide together where the supply is taxed",
        _NO_TAX,
    ),
    hold(
        "tax.vat_invalid",
        "whether the VAT number has the form and check digits of its country",
        "ask the customer for the right number",
        _NO_TAX,
    ),
    hold(
        "tax.no_vat_number",
        "whether a customer abroad is shown to be a business",
        "ask the customer for its VAT number",
        _NO_TAX,
    ),
    hold(
        "tax.no_seller",
        "whether it is known which company sells",
        "enter the company under Selling companies; of several choose one on the contract",
        _NO_TAX,
    ),
    hold(
        "tax.no_registration",
        "whether the selling company is registered where tax is due",
        "enter the registration with its number, or let another company sell",
        _NO_TAX,
    ),
    hold(
        "tax.no_locality",
        "whether the city or county is known where it adds taxes of its own",
        "enter the city on the tax profile, or add its rate",
        _NO_TAX,
    ),
    hold(
        "tax.not_business",
        "whether a customer abroad is said to be a business",
        "enter its tax number, or set Buys as a business on the tax profile",
        _NO_TAX,
    ),
    hold(
        "tax.not_yet_valid",
        "whether an exemption certificate has begun on the tax point",
        "correct its first day, or wait for it",
        _NO_TAX,
    ),
    hold(
        "tax.number_refuted",
        "whether the register says that the customer's tax number is valid",
        "ask the customer for its valid number",
        _NO_TAX,
    ),
    hold(
        "tax.number_unchecked",
        "whether a register has answered about the number that a bill without tax rests on",
        "run sync, which asks the register",
        _NO_TAX,
    ),
    hold(
        "tax.number_old",
        "whether the register's answer still counts (CSP_TAX_NUMBER_DAYS)",
        "run sync to ask again; if the register is down, wait for it",
        _NO_TAX,
    ),
    hold(
        "tax.bad_rate",
        "whether the partner's own rows of tax rates can be meant",
        "correct or deactivate the row under Tax rates",
        _NO_TAX,
    ),
    hold(
        "tax.bad_registration",
        "whether the selling company's registrations are for places that the tax rates know",
        "correct country and region under Tax registrations",
        _NO_TAX,
    ),
    hold(
        "tax.unreadable_row",
        "whether the rows that decide tax can be read",
        "correct or deactivate the row",
        _NO_TAX,
    ),
    hold(
        "tax.no_engine",
        "whether there is a tax engine where a contract leaves its tax to one",
        "set the engine's address, or let the contract decide by rules",
        _NO_TAX,
    ),
    warn(
        "tax.certificate_ending",
        "whether a certificate in use ends within 30 days",
        "ask the customer for a new certificate and enter it",
    ),
    warn(
        "tax.registration_ending",
        "whether a registration that tax is charged by ends within 30 days",
        "enter the registration that follows under Tax registrations",
    ),
    warn(
        "tax.certificate_unverified",
        "whether somebody verified a certificate in use",
        "look at the paper, and enter who verified it and when",
    ),
    warn(
        "tax.number_ageing",
        "whether the answer about a number in use will soon count no more",
        "run sync to ask again; if the register is down, wait for it",
    ),
    hold(
        "tax.engine_silent",
        "whether the tax engine answers, where a contract leaves its tax to it",
        "run this again when the tax engine answers, or let the rules decide",
        _NO_TAX,
    ),
    hold(
        "tax.engine_answer",
        "whether the tax engine's answer can be right",
        "have the engine's answer mended (docs/tax-engine.md)",
        _NO_TAX,
    ),
    hold(
        "tax.engine_held",
        "whether the tax engine lets the customer be billed",
        "put right what the tax engine says",
        _NO_TAX,
    ),
)
