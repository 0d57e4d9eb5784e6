import { Alert, Button } from '@mantine/core'
import { useNavigate } from '@tanstack/react-router'
import { useState } from 'react'
import { useTranslation } from 'react-i18next'
import { redeemTicket } from '../../shared/auth'
import { usePageTitle } from '../../shared/usePageTitle'
import { AccessCard } from './AccessCard'
import { acceptable, PasswordFields } from './PasswordFields'
import { useSubmission } from './useSubmission'

export default function WelcomeRoute() {
  const { t } = useTranslation()
  const navigate = useNavigate()
  const [ticket] = useState(() => location.hash.slice(1))
  const [value, setValue] = useState({ first: '', second: '' })
  const { submit, error, busy } = useSubmission(async () => {
    await redeemTicket(ticket, value.first)
    await navigate({ to: '/', replace: true })
  })

  usePageTitle(t('login.welcome'))

  return (
    <AccessCard title={t('login.welcome')} subtitle={t('login.choose')} error={error} onSubmit={submit}>
      {!ticket && <Alert color="yellow">{t('login.badLink')}</Alert>}
      <PasswordFields value={value} onChange={setValue} />
      <Button type="submit" loading={busy} disabled={!ticket || !acceptable(value)} fullWidth mt="xs">
        {t('login.set')}
      </Button>
    </AccessCard>
  )
}
