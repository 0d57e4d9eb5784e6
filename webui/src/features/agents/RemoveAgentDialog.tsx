import { Button, Checkbox, Group, Modal, Stack, Text } from '@mantine/core'
import { useState } from 'react'
import { useTranslation } from 'react-i18next'
import { useMutation } from 'urql'
import { Failure } from '../../shared/Failure'
import { type Agent, REMOVE } from './documents'

/** Asks before a node is removed. */
export function RemoveAgentDialog({ agent, onClose }: { agent: Agent; onClose: () => void }) {
  const { t } = useTranslation()
  const [force, setForce] = useState(false)
  const [{ error, fetching }, remove] = useMutation(REMOVE)
  return (
    <Modal
      closeButtonProps={{ 'aria-label': t('app.close') }}
      opened
      onClose={onClose}
      title={t('agents.removeTitle', { name: agent.name })}
    >
      <Stack>
        {error && <Failure error={error} />}
        <Text size="sm">{t('agents.removeText')}</Text>
        <Checkbox
          label={t('agents.force')}
          checked={force}
          onChange={(event) => setForce(event.currentTarget.checked)}
        />
        <Group justify="flex-end">
          <Button variant="default" onClick={onClose}>
            {t('app.cancel')}
          </Button>
          <Button
            color="red"
            loading={fetching}
            onClick={async () => {
              const done = await remove({ input: { id: agent.id, force } })
              if (!done.error) onClose()
            }}
          >
            {t('agents.remove')}
          </Button>
        </Group>
      </Stack>
    </Modal>
  )
}
